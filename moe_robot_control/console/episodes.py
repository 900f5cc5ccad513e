"""The recorded episodes in a folder, as the page lists them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import zstandard
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Metadata
from mcap.stream_reader import StreamReader
from mcap.summary import Summary
from mcap_ros2.decoder import DecoderFactory

from moe_robot_control.demonstrations.episode import METADATA

SHOWN = 200
"""Most episodes in the list: the newest."""
THUMBNAIL_HEIGHT = 96
"""[px]"""
_IMAGE = "sensor_msgs/msg/CompressedImage"
_DAMAGED = (
    McapError,
    zstandard.ZstdError,
    struct.error,
    EOFError,
    LookupError,
    RuntimeError,  # lz4's
    ValueError,
    OSError,
)


@dataclass(frozen=True)
class Recording:
    """One line of the list.

    Attributes:
        name: path of the episode's folder, below the folder of all.
        size: of its file [bytes].
        duration: from its first to its last message [s]; None where the file has no end yet, as
            it is being written or was cut off.
        facts: its metadata: skill, scenario, operator, success and more, as text.
    """

    name: str
    size: int
    duration: float | None
    facts: dict[str, str]


def recordings(folder: Path) -> list[Recording]:
    """The newest episodes in a folder, newest first; none where there is no folder."""
    found = sorted(_files(folder), key=lambda item: item[1].st_mtime_ns, reverse=True)
    return [
        Recording(_name(path, folder), stat.st_size, *_read(path, stat.st_size, stat.st_mtime_ns))
        for path, stat in found[:SHOWN]
    ]


def thumbnail(folder: Path, name: str) -> bytes | None:
    """A small JPEG from the middle of an episode; None where it has no readable image."""
    # only names that the list has: a path must not lead elsewhere
    for path, stat in _files(folder):
        if _name(path, folder) == name:
            return _thumbnail(path, stat.st_size, stat.st_mtime_ns)
    return None


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.rglob("*.mcap"):
        with suppress(OSError):  # discarded meanwhile
            yield path, path.stat()


def _name(path: Path, folder: Path) -> str:
    return path.parent.relative_to(folder).as_posix()


@lru_cache(maxsize=2 * SHOWN)
def _read(path: Path, _size: int, _changed: int) -> tuple[float | None, dict[str, str]]:
    """Duration and metadata; kept for as long as the file is as it is."""
    facts: dict[str, str] = {}
    duration = None
    try:
        with path.open("rb") as stream:
            reader = SeekingReader(stream)
            summary = reader.get_summary()
            if summary is None or summary.statistics is None:
                raise ValueError("no summary")
            statistics = summary.statistics
            duration = (statistics.message_end_time - statistics.message_start_time) * 1e-9
            for record in reader.iter_metadata():
                facts |= _facts(record)
    except _DAMAGED:
        facts = _first_facts(path)
    return duration, facts


def _facts(record: Any) -> dict[str, str]:
    return record.metadata if isinstance(record, Metadata) and record.name == METADATA else {}


def _first_facts(path: Path) -> dict[str, str]:
    """The metadata at the beginning of a file without end."""
    try:
        with path.open("rb") as stream:
            for record in StreamReader(stream, emit_chunks=True).records:
                if facts := _facts(record):
                    return facts
    except _DAMAGED:
        pass
    return {}


@lru_cache(maxsize=SHOWN)
def _thumbnail(path: Path, _size: int, _changed: int) -> bytes | None:
    try:
        with path.open("rb") as stream:
            data = _middle_image(stream)
    except _DAMAGED:
        return None
    if data is None:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    height, width = image.shape[:2]
    size = max(round(THUMBNAIL_HEIGHT * width / height), 1), THUMBNAIL_HEIGHT
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small)[1].tobytes()


def _middle_image(stream: IO[bytes]) -> bytes | None:
    reader = SeekingReader(stream, decoder_factories=[DecoderFactory()])
    summary = reader.get_summary()
    if summary is None or summary.statistics is None:
        return None
    start, end = summary.statistics.message_start_time, summary.statistics.message_end_time
    topics = _image_topics(summary)
    if not topics:
        return None
    for begin in ((start + end) // 2, start):
        for decoded in reader.iter_decoded_messages(topics[:1], starting_at=begin):
            return bytes(decoded.decoded_message.data)
    return None


def _image_topics(summary: Summary) -> list[str]:
    images = {key for key, schema in summary.schemas.items() if schema.name == _IMAGE}
    return sorted(c.topic for c in summary.channels.values() if c.schema_id in images)
