"""Writes what a running graph says into episodes, without ever making it wait.

Messages come as they were serialised and are only queued; a thread compresses images and writes.
Every half second the chunk in progress is finished and handed to the operating system: a process
that is killed loses no more than that.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import McapReader, make_reader
from mcap.writer import CompressionType

from moe_robot_control.demonstrations.episode import METADATA, EpisodeError
from moe_robot_control.demonstrations.lean_writer import LeanWriter
from moe_robot_control.demonstrations.messages import definition
from moe_robot_control.demonstrations.rosbag import write_bag_metadata

FLUSH_PERIOD = 0.5
"""What a crash can cost at most [s]."""
CAPACITY = 256 * 1024 * 1024
"""Of the queue [bytes]: many seconds of images."""
DISCARDED = ".discarded"
"""Folder of discarded episodes, whose files no reader takes for episodes."""
EPISODE_SUFFIX = ".mcap"
_CHUNK_SIZE = 4 * 1024 * 1024


class EpisodeFile:
    """One episode's folder with its MCAP file; not thread-safe."""

    def __init__(
        self, folder: Path, metadata: Mapping[str, Any], suffix: str = EPISODE_SUFFIX
    ) -> None:
        """Create the folder.

        Args:
            folder: of the episode.
            metadata: written before all messages.
            suffix: of the file.

        Raises:
            EpisodeError: it exists already, or cannot be written.
        """
        self.folder = folder
        self.path = folder / f"{folder.name}_0{suffix}"
        try:
            folder.mkdir(parents=True)
            self._stream = self.path.open("wb")
        except FileExistsError as error:
            raise EpisodeError(f"{folder}: exists already") from error
        except OSError as error:
            raise EpisodeError(f"{folder}: cannot be written: {error.strerror}") from error
        # JPEG does not shrink, and the rest is small: fast compression is enough
        self._writer = LeanWriter(self._stream, folder, _CHUNK_SIZE, CompressionType.LZ4)
        self._writer.start("ros2", "moe_robot_control")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, tuple[int, str]] = {}
        self._counts: dict[str, int] = {}
        self._first: int | None = None
        self._last = 0
        self.describe(metadata)

    def describe(self, metadata: Mapping[str, Any]) -> None:
        """Add to the episode's metadata; where a name comes twice, the later value counts."""
        self._writer.add_metadata(METADATA, {key: str(value) for key, value in metadata.items()})
        self._stream.flush()

    def write(
        self, topic: str, datatype: str, log_time: int, publish_time: int, data: bytes
    ) -> None:
        """Write one serialised message; times in ns."""
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._channels[topic] = self._register(topic, datatype), datatype
            self._counts[topic] = 0
        self._writer.add_message(channel[0], log_time, data, publish_time, self._counts[topic])
        self._counts[topic] += 1
        self._first = log_time if self._first is None else min(self._first, log_time)
        self._last = max(self._last, log_time)

    def _register(self, topic: str, datatype: str) -> int:
        if datatype not in self._schemas:
            text = definition(datatype).encode()
            self._schemas[datatype] = self._writer.register_schema(datatype, "ros2msg", text)
        return self._writer.register_channel(topic, "cdr", self._schemas[datatype])

    def flush(self) -> None:
        """Finish the chunk in progress and hand it to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the file and describe the bag to rosbag2."""
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        topics = {topic: (self._channels[topic][1], n) for topic, n in self._counts.items()}
        write_bag_metadata(self.path, topics, self._first or 0, self._last)


@dataclass
class RecorderStatus:
    """What a recorder does.

    Attributes:
        recording: whether messages are kept.
        episode: folder of the present or else the last episode; None before the first.
        messages: queued for the present or last episode.
        dropped: of them, those that could not be kept: the queue was full, or an image could
            not be compressed.
        success: as marked; None: not told.
        complaint: why the last message that was dropped was dropped.
        fault: why nothing more could be written, which ended the episode; else empty.
    """

    recording: bool = False
    episode: Path | None = None
    messages: int = 0
    dropped: int = 0
    success: bool | None = None
    complaint: str = ""
    fault: str = ""


@dataclass
class _Item:
    """Something for the writing thread to do."""

    do: Callable[[], None]
    size: int = 0
    done: threading.Event | None = field(default=None, repr=False)


class Recorder:
    """Records one episode after the other; `put` never waits.

    Methods may be called from any one thread. A failing disk ends the episode, and is told in
    `status`, not raised: the caller's business is control.
    """

    def __init__(
        self,
        directory: Path,
        capacity: int = CAPACITY,
        flush_period: float = FLUSH_PERIOD,
    ) -> None:
        """Start the writing thread.

        Args:
            directory: of the episodes' folders.
            capacity: of the queue [bytes].
            flush_period: what a crash can cost at most [s].
        """
        self.directory = Path(directory)
        self.status = RecorderStatus()
        self._capacity, self._period = capacity, flush_period
        self._queue: deque[_Item] = deque()
        self._pending = 0
        self._changed = threading.Condition()
        self._file: EpisodeFile | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def start(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Begin an episode.

        Args:
            name: of its folder, relative to the directory.
            metadata: written before all messages.

        Raises:
            EpisodeError: one is being recorded already, or the folder exists.
        """
        if self.status.recording:
            raise EpisodeError(f"{self.status.episode}: is being recorded; stop it first")
        folder = self.directory / name
        # here, where it can be refused, rather than in the thread
        file = EpisodeFile(folder, metadata | {"success": _text(None)})
        self.status = RecorderStatus(recording=True, episode=folder)
        self._append(_Item(lambda: self._open(file)))

    def put(
        self,
        topic: str,
        datatype: str,
        log_time: int,
        publish_time: int,
        data: bytes,
        convert: Callable[[bytes], bytes] | None = None,
    ) -> bool:
        """Keep a serialised message, if an episode is being recorded.

        Args:
            topic: relative name.
            datatype: as `sensor_msgs/msg/JointState`, of what `convert` makes of it.
            log_time: when it came [ns].
            publish_time: of what it tells [ns].
            data: serialised.
            convert: applied by the writing thread.

        Returns:
            Whether it is kept; one that is not is counted as dropped.
        """
        if not self.status.recording:
            return False
        self.status.messages += 1

        def write() -> None:
            if self._file is None:
                return
            try:
                content = data if convert is None else convert(data)
            except ValueError as error:
                self._drop(f"{topic}: {error}")
                return
            self._file.write(topic, datatype, log_time, publish_time, content)

        if self._pending + len(data) > self._capacity:
            self._drop(f"{topic}: the disk is too slow, {self._pending} bytes wait for it")
            return False
        self._append(_Item(write, len(data)))
        return True

    def _drop(self, complaint: str) -> None:
        self.status.dropped += 1
        self.status.complaint = complaint

    def mark(self, success: bool) -> None:
        """Say whether the present, or else the last episode succeeded.

        Raises:
            EpisodeError: there is none.
        """
        if self.status.episode is None:
            raise EpisodeError("no episode yet to mark")
        facts = {"success": _text(success)}
        if self.status.recording:
            self._append(_Item(lambda: self._file and self._file.describe(facts)))
        else:
            add_metadata(self.status.episode, facts)
        self.status.success = success

    def stop(self, metadata: Mapping[str, Any] | None = None) -> Path:
        """End the episode and wait until all of it is on disk.

        Args:
            metadata: what is known only now.

        Returns:
            Its folder.

        Raises:
            EpisodeError: none is being recorded, or the disk failed.
        """
        status = self.status
        if not status.recording:
            raise EpisodeError(status.fault or "no episode is being recorded")
        status.recording = False

        def finish() -> None:
            if self._file is not None:
                facts = {"success": _text(status.success), "dropped": status.dropped}
                self._file.describe(facts | dict(metadata or {}))
                self._file.close()
                self._file = None

        self._run(finish)
        if status.fault:
            raise EpisodeError(status.fault)
        return status.episode

    def discard(self) -> Path:
        """End the present episode, or take the last one; put it where no reader looks.

        Returns:
            Where it is now.

        Raises:
            EpisodeError: there is none.
        """
        if self.status.recording:
            self.stop({"discarded": "true"})
        folder = self.status.episode
        if folder is None or not folder.is_dir():
            raise EpisodeError("no episode to discard")
        target = self.directory / DISCARDED / folder.name
        target.parent.mkdir(exist_ok=True)
        shutil.move(folder, target)
        for path in target.glob("*.mcap"):
            path.rename(path.with_name(f"{path.name}.discarded"))
        self.status = RecorderStatus()
        return target

    def close(self) -> None:
        """End the present episode, if any, and the thread.

        Raises:
            EpisodeError: the disk failed.
        """
        try:
            if self.status.recording:
                self.stop({"reason": "recorder ended"})
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._thread.join()

    # -- the writing thread ------------------------------------------------------------------

    def _append(self, item: _Item) -> None:
        with self._changed:
            self._queue.append(item)
            self._pending += item.size
            self._changed.notify()

    def _run(self, do: Callable[[], None]) -> None:
        """Do something after all that is queued, and wait for it."""
        item = _Item(do, done=threading.Event())
        self._append(item)
        item.done.wait()

    def _work(self) -> None:
        flushed = time.monotonic()
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(self._period)
                if not self._queue and self._closing:
                    return
                item = self._queue.popleft() if self._queue else None
            if item is not None:
                self._guarded(item.do)
                with self._changed:
                    self._pending -= item.size
                if item.done is not None:
                    item.done.set()
            now = time.monotonic()
            if now - flushed >= self._period and self._file is not None:
                self._guarded(self._file.flush)
                flushed = now

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except OSError as error:
            # a full disk, say: what is written stays, and the caller is told
            self.status.fault = f"{self.status.episode}: cannot be written: {error.strerror}"
            self.status.recording = False
            self._file = None

    def _open(self, file: EpisodeFile) -> None:
        self._file = file


def add_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Add to the metadata of an episode that is complete, by writing its file anew.

    Raises:
        EpisodeError: it cannot be read or written.
    """
    path = folder / f"{folder.name}_0{EPISODE_SUFFIX}"
    unfinished = folder.with_name(f".{folder.name}") / folder.name
    shutil.rmtree(unfinished.parent, ignore_errors=True)
    try:
        with path.open("rb") as stream:
            reader = make_reader(stream)
            facts = _metadata_of(reader) | dict(metadata)
            file = EpisodeFile(unfinished, facts, f"{EPISODE_SUFFIX}.unfinished")
            for schema, channel, message in reader.iter_messages(log_time_order=False):
                times = message.log_time, message.publish_time
                file.write(channel.topic, schema.name, *times, message.data)
        file.close()
        os.replace(file.path, path)
        shutil.rmtree(unfinished.parent)
    except (OSError, McapError) as error:
        raise EpisodeError(f"{folder}: its metadata cannot be changed: {error}") from error


def _metadata_of(reader: McapReader) -> dict[str, str]:
    merged: dict[str, str] = {}
    for record in reader.iter_metadata():
        if record.name == METADATA:
            merged |= record.metadata
    return merged


def _text(success: bool | None) -> str:
    return "unknown" if success is None else str(success).lower()
