"""MCAP files as rosbag2 writes them: all whole messages, whatever happened to the file.

Readers for intact files stop at the first damage. This one goes on behind it, takes what is whole
in a chunk that was cut off, and tells what it met. Chunks are checked by their checksums, so that
damaged bytes are not taken for data.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
import zstandard
from mcap.writer import CompressionType, Writer

from moe_robot_control.demonstrations.rosbag import write_bag_metadata
from moe_robot_control.errors import MoeRobotControlError

METADATA = "episode"
"""Name of the MCAP metadata that describe an episode."""

_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_STATISTICS, _METADATA, _DATA_END = 0x0B, 0x0C, 0x0F
_PREFIX = struct.Struct("<BQ")
"""Of every record: opcode and length of what follows."""
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_FOOTER_CONTENT = struct.Struct("<QQI")
_CHUNK_HEAD = struct.Struct("<QQQII")
_COMPRESSIONS = (b"", b"lz4", b"zstd")
_METADATA_NAME = struct.pack("<I", len(METADATA)) + METADATA.encode()
_CHUNK_SIZE = 1024 * 1024


class EpisodeError(MoeRobotControlError):
    """An episode that cannot be read or written; the message names its path."""


@dataclass(frozen=True, slots=True)
class Message:
    """One serialised message.

    Attributes:
        topic: name.
        datatype: as `sensor_msgs/msg/JointState`.
        log_time: when it was received [ns].
        publish_time: what time it tells of [ns].
        data: in CDR.
    """

    topic: str
    datatype: str
    log_time: int
    publish_time: int
    data: bytes


@dataclass
class Bag:
    """What is whole in an MCAP file.

    Attributes:
        path: of the file.
        messages: of the topics asked for, in the order of the file.
        intact: how many of them come before the first damage.
        counts: whole messages by topic, of all topics.
        datatypes: by topic.
        schemas: definition of each datatype.
        metadata: the episode's; where a name comes twice, the later value counts.
        damage: what is wrong with the file, in the order of the file; empty: nothing.
    """

    path: Path
    messages: list[Message] = field(default_factory=list)
    intact: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    schemas: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)


def find_bag(path: str | Path) -> Path:
    """The only MCAP file of an episode's folder, or the file itself.

    Raises:
        EpisodeError: there is none, or more than one.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("*.mcap"))
    if len(files) != 1:
        raise EpisodeError(f"{path}: holds {len(files)} MCAP files, expected one")
    return files[0]


def read_bag(path: str | Path, topics: Callable[[str], bool] | None = None) -> Bag:
    """Read an episode's folder, or its MCAP file.

    Args:
        path: of either.
        topics: says of a topic's name whether to keep its messages; by default all are kept.

    Raises:
        EpisodeError: there is no such file, or nothing of MCAP in it.
    """
    path = find_bag(path)
    try:
        with path.open("rb") as stream:
            if not path.stat().st_size:
                raise EpisodeError(f"{path}: not a readable MCAP file: it is empty")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                reader = _Reader(path, data, topics)
                reader.read()
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read: {error.strerror}") from error
    return reader.bag


def write_bag(
    path: Path,
    messages: Iterable[Message],
    schemas: Mapping[str, str],
    metadata: Mapping[str, str],
) -> None:
    """Write an MCAP file and rosbag2's `metadata.yaml` beside it.

    Args:
        path: of the file, which is replaced; its folder exists.
        messages: in the order to write.
        schemas: definition of each of their datatypes.
        metadata: of the episode.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    ids: dict[str, int] = {}
    channels: dict[str, int] = {}
    counts: Counter[str] = Counter()
    datatypes: dict[str, str] = {}
    first, last = None, 0
    with unfinished.open("wb") as stream:
        writer = Writer(stream, _CHUNK_SIZE, CompressionType.LZ4)
        writer.start("ros2", "moe_robot_control")
        writer.add_metadata(METADATA, dict(metadata))
        for message in messages:
            topic, datatype = message.topic, message.datatype
            if datatype not in ids:
                text = schemas[datatype].encode()
                ids[datatype] = writer.register_schema(datatype, "ros2msg", text)
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", ids[datatype])
                datatypes[topic] = datatype
            writer.add_message(
                channels[topic],
                message.log_time,
                message.data,
                message.publish_time,
                counts[topic],
            )
            counts[topic] += 1
            first = message.log_time if first is None else min(first, message.log_time)
            last = max(last, message.log_time)
        writer.finish()
    unfinished.replace(path)
    topics = {topic: (datatypes[topic], count) for topic, count in counts.items()}
    write_bag_metadata(path, topics, first or 0, last)


class _Reader:
    """Goes through the records of one file."""

    def __init__(self, path: Path, data: mmap.mmap, topics: Callable[[str], bool] | None) -> None:
        self.bag = Bag(path)
        self._data = data
        self._wanted = topics or (lambda _: True)
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, tuple[str, int]] = {}
        self._counts: Counter[int] = Counter()
        self._found: list[tuple[int, int, int, bytes]] = []
        self._undamaged: int | None = None
        self._summary: list[tuple[int, int, int]] = []
        self._summary_begin: int | None = None
        self._expected: int | None = None
        self._ended = False
        self._good = 0

    def read(self) -> None:
        """Fill the bag.

        Raises:
            EpisodeError: nothing of MCAP is in the file.
        """
        size, at = len(self._data), len(_MAGIC)
        if self._data[:at] != _MAGIC:
            at = self._next_record(0)
            if at == size:
                raise EpisodeError(f"{self.bag.path}: not a readable MCAP file")
            self._complain("its beginning is damaged")
        self._good = at
        while at < size and not (self._ended and self._data[at:] == _MAGIC):
            record = self._record_at(at)
            if record is not None:
                self._take(*record)
                at = record[2]
                continue
            # the file ends here, or the length of this record or of one before it is wrong
            following = self._next_record(max(self._good, len(_MAGIC)))
            if following < size:
                self._complain(f"bytes {self._good} to {following} are damaged")
            else:
                self._complain(f"damaged or cut off at byte {at} of {size}")
                self._take_rest(at)
            at = self._good = following
        if not self._ended and not self.bag.damage:
            self._complain("cut off: its end is missing")
        self._resolve()

    def _complain(self, text: str) -> None:
        self.bag.damage.append(text)
        if self._undamaged is None:
            self._undamaged = len(self._found)

    # -- records -----------------------------------------------------------------------------

    def _record_at(self, at: int) -> tuple[int, int, int] | None:
        """Opcode, begin and end of the content of a whole and plausible record."""
        if at + _PREFIX.size > len(self._data):
            return None
        opcode, length = _PREFIX.unpack_from(self._data, at)
        begin = at + _PREFIX.size
        if not 1 <= opcode <= _DATA_END or begin + length > len(self._data):
            return None
        if opcode == _CHUNK and self._chunk_length(begin) != length:
            return None
        if opcode == _METADATA and self._metadata_length(begin) != length:
            return None
        return opcode, begin, begin + length

    def _metadata_length(self, begin: int) -> int | None:
        """Length of metadata as told by their own fields."""
        try:
            (name_size,) = struct.unpack_from("<I", self._data, begin)
            (size,) = struct.unpack_from("<I", self._data, begin + 4 + name_size)
        except struct.error:
            return None
        return 8 + name_size + size

    def _chunk_length(self, begin: int) -> int | None:
        """Length of a chunk as told by its own fields; None where they make no sense."""
        try:
            compression_size = _CHUNK_HEAD.unpack_from(self._data, begin)[-1]
            at = begin + _CHUNK_HEAD.size
            compression = self._data[at : at + min(compression_size, 8)]
            if compression not in _COMPRESSIONS:
                return None
            (size,) = struct.unpack_from("<Q", self._data, at + compression_size)
        except struct.error:
            return None
        return _CHUNK_HEAD.size + compression_size + 8 + size

    def _next_record(self, at: int) -> int:
        """Where the next chunk or the next metadata of the episode begin; or the file's end."""
        metadata = self._find(_METADATA_NAME, at + _PREFIX.size, _PREFIX.size)
        return min(self._find(bytes([_CHUNK]), at, 0, metadata), metadata)

    def _find(self, pattern: bytes, at: int, ahead: int, until: int | None = None) -> int:
        """Where the next record is that has a pattern so many bytes behind its beginning."""
        until = len(self._data) if until is None else until
        while (at := self._data.find(pattern, at, until)) >= 0:
            if self._record_at(at - ahead) is not None:
                return at - ahead
            at += 1
        return until

    def _take(self, opcode: int, begin: int, end: int) -> None:
        if opcode == _CHUNK:
            self._take_chunk(begin, end)
            self._good = end
        elif opcode == _METADATA:
            self._take_metadata(self._data[begin:end])
            self._good = end
        elif opcode == _DATA_END:
            self._summary_begin = end
        elif opcode == _FOOTER:
            self._ended = True
            self._take_summary(begin, end)
        elif self._summary_begin is not None:
            self._summary.append((opcode, begin, end))
        else:
            self._take_inner(opcode, self._data, begin, end)

    def _take_summary(self, begin: int, end: int) -> None:
        """What the end of the file repeats, for where the original is damaged."""
        if end - begin != _FOOTER_CONTENT.size or self._summary_begin is None:
            self._complain("its end is damaged")
            return
        *_, checksum = _FOOTER_CONTENT.unpack_from(self._data, begin)
        summary = self._data[self._summary_begin : end - 4]
        if checksum and zlib.crc32(summary) != checksum:
            self._complain("its end is damaged")
            return
        channels, schemas = dict(self._channels), dict(self._schemas)
        for opcode, first, last in self._summary:
            if opcode in (_CHANNEL, _SCHEMA):
                self._take_inner(opcode, self._data, first, last)
            elif opcode == _STATISTICS and last - first >= 8:
                (self._expected,) = struct.unpack_from("<Q", self._data, first)
        self._channels |= channels
        self._schemas |= schemas

    def _take_metadata(self, content: bytes) -> None:
        try:
            name, at = _text(content, 0)
            if name != METADATA:
                return
            (size,) = struct.unpack_from("<I", content, at)
            at, until = at + 4, at + 4 + size
            facts: dict[str, str] = {}
            while at < until:
                key, at = _text(content, at)
                facts[key], at = _text(content, at)
        except (struct.error, ValueError):
            self._complain("some of its metadata are damaged")
        else:
            self.bag.metadata |= facts

    def _take_chunk(self, begin: int, end: int) -> None:
        content, size, checksum = self._unpack(begin, end)
        right = zlib.crc32(content) == checksum if checksum else len(content) == size
        if right:
            self._take_all(content)
        else:
            self._complain(f"the chunk at byte {begin - _PREFIX.size} is damaged, and left out")

    def _take_rest(self, at: int) -> None:
        """What is whole in a chunk that the file's end cuts off."""
        if at + _PREFIX.size > len(self._data):
            return
        opcode, length = _PREFIX.unpack_from(self._data, at)
        begin = at + _PREFIX.size
        if opcode == _CHUNK and self._chunk_length(begin) == length:
            self._take_all(self._unpack(begin, len(self._data))[0])

    def _unpack(self, begin: int, end: int) -> tuple[bytes, int, int]:
        """Content of a chunk, as far as it can be decompressed; its size and checksum as told."""
        *_, size, checksum, compression_size = _CHUNK_HEAD.unpack_from(self._data, begin)
        at = begin + _CHUNK_HEAD.size
        compression = self._data[at : at + compression_size]
        content = self._data[at + compression_size + 8 : end]
        try:
            if compression == b"lz4":
                content = lz4.frame.LZ4FrameDecompressor().decompress(content)
            elif compression == b"zstd":
                content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        except (RuntimeError, EOFError, zstandard.ZstdError):
            content = b""
        return content, size, checksum

    def _take_all(self, content: bytes) -> None:
        """The whole records of a chunk."""
        at = 0
        while at + _PREFIX.size <= len(content):
            opcode, length = _PREFIX.unpack_from(content, at)
            begin, at = at + _PREFIX.size, at + _PREFIX.size + length
            if at > len(content):
                break
            self._take_inner(opcode, content, begin, at)

    def _take_inner(self, opcode: int, content: bytes | mmap.mmap, begin: int, end: int) -> None:
        """A record that may stand in a chunk or outside."""
        try:
            if opcode == _MESSAGE:
                channel, _, log_time, publish_time = _MESSAGE_HEAD.unpack_from(content, begin)
                self._counts[channel] += 1
                known = self._channels.get(channel)
                if known is None or self._wanted(known[0]):
                    data = bytes(content[begin + _MESSAGE_HEAD.size : end])
                    self._found.append((channel, log_time, publish_time, data))
            elif opcode == _CHANNEL:
                channel, schema = struct.unpack_from("<HH", content, begin)
                self._channels[channel] = _text(content, begin + 4)[0], schema
            elif opcode == _SCHEMA:
                (schema,) = struct.unpack_from("<H", content, begin)
                name, at = _text(content, begin + 2)
                _, at = _text(content, at)
                self._schemas[schema] = name, _text(content, at)[0]
        except (struct.error, ValueError):
            self._complain(f"a record that makes no sense, at byte {begin}")

    def _resolve(self) -> None:
        """Give messages their topics, which a damaged file may tell only at its end."""
        bag, unknown = self.bag, 0
        for channel, (topic, schema) in self._channels.items():
            if schema in self._schemas:
                bag.datatypes[topic], text = self._schemas[schema]
                bag.schemas[bag.datatypes[topic]] = text
                bag.counts[topic] = bag.counts.get(topic, 0) + self._counts[channel]
        for index, (channel, log_time, publish_time, data) in enumerate(self._found):
            if index == self._undamaged:
                bag.intact = len(bag.messages)
            topic, _ = self._channels.get(channel, ("", 0))
            if topic not in bag.datatypes:
                unknown += 1
            elif self._wanted(topic):
                bag.messages.append(
                    Message(topic, bag.datatypes[topic], log_time, publish_time, data)
                )
        if self._undamaged is None or self._undamaged >= len(self._found):
            bag.intact = len(bag.messages)
        if unknown:
            bag.damage.append(f"{unknown} messages are of topics whose description is damaged")
        whole = self._counts.total() - unknown
        if self._expected is not None and whole < self._expected:
            bag.damage.append(f"{self._expected - whole} of {self._expected} messages are missing")


def _text(content: bytes | mmap.mmap, at: int) -> tuple[str, int]:
    """A text with its length in front, and where it ends."""
    (size,) = struct.unpack_from("<I", content, at)
    end = at + 4 + size
    if end > len(content):
        raise ValueError("a text that is cut off")
    return content[at + 4 : end].decode(), end
