"""An MCAP writer whose memory does not grow with the file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mcap.data_stream import RecordBuilder
from mcap.records import ChunkIndex
from mcap.writer import Writer


class LeanWriter(Writer):
    """Keeps the indices of finished chunks on disk until the file's summary needs them.

    The library keeps them as objects: with a chunk every half second some 20 MB an hour.
    """

    def __init__(self, stream: IO[bytes], folder: Path, *arguments: Any) -> None:
        """Write to `stream`; the indices go to an unnamed file in `folder` meanwhile."""
        super().__init__(stream, *arguments)
        self._Writer__chunk_indices = _SpilledIndices(folder)


class _SpilledIndices(list):
    """Takes the place of the library's list: what is appended is written away."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile(dir=folder)

    def append(self, index: ChunkIndex) -> None:
        builder = RecordBuilder()
        index.write(builder)
        self._file.write(builder.end())

    def __iter__(self) -> Iterator[_SpilledIndices]:
        """All indices, as one that can be written."""
        yield self

    def write(self, builder: RecordBuilder) -> None:
        """What the library asks of every index."""
        self._file.seek(0)
        builder.write(self._file.read())
        self._file.close()
