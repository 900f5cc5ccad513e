"""Recording of serialised messages: complete, never waiting, and through crashes."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from moe_robot_control.demonstrations.episode import EpisodeError
from moe_robot_control.demonstrations.messages import DATATYPES, definition
from moe_robot_control.demonstrations.recorder import (
    DISCARDED,
    EpisodeFile,
    Recorder,
    add_metadata,
)

STORE = get_typestore(Stores.ROS2_JAZZY)
BOOL = "std_msgs/msg/Bool"
TRUE = b"\x00\x01\x00\x00\x01"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path)
    yield recorder
    recorder.close()


def fill(recorder: Recorder, count: int) -> None:
    for i in range(count):
        assert recorder.put("emergency_stop", BOOL, 10**9 + i, 10 * i, TRUE)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Two hundred chunks more cost nothing; each is in the file's index at the end."""
    file = EpisodeFile(tmp_path / "long", {})

    def chunks(count: int) -> None:
        for i in range(count):
            for topic in range(20):
                file.write(f"topic_{topic}", BOOL, 10**9 + i, i, TRUE)
            file.flush()

    chunks(50)
    tracemalloc.start()
    try:
        chunks(50)
        before, _ = tracemalloc.get_traced_memory()
        chunks(200)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    file.close()
    with file.path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert len(summary.chunk_indexes) == summary.statistics.chunk_count == 300
    assert all(len(index.message_index_offsets) == 20 for index in summary.chunk_indexes)
    assert [path.name for path in file.folder.iterdir() if path.suffix == ".mcap"] == [
        file.path.name
    ]
    assert len(messages_of(file.folder)) == 6000


def messages_of(folder: Path) -> list[tuple[str, int, int]]:
    with next(folder.glob("*.mcap")).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, message.log_time, message.publish_time)
            for _, channel, message in reader.iter_messages(log_time_order=False)
        ]


def metadata_of(folder: Path) -> dict[str, str]:
    merged: dict[str, str] = {}
    with next(folder.glob("*.mcap")).open("rb") as stream:
        for record in make_reader(stream).iter_metadata():
            assert record.name == "episode"
            merged |= record.metadata
    return merged


def test_everything_put_is_on_disk(recorder: Recorder, tmp_path: Path) -> None:
    recorder.start("unbox/one", {"skill": "unbox", "seed": 3})
    fill(recorder, 1000)
    folder = recorder.stop({"reason": "asked"})
    assert folder == tmp_path / "unbox/one"
    wanted = [("emergency_stop", 10**9 + i, 10 * i) for i in range(1000)]
    assert messages_of(folder) == wanted
    facts = {"skill": "unbox", "seed": "3", "success": "unknown", "dropped": "0"}
    assert metadata_of(folder) == facts | {"reason": "asked"}
    assert recorder.status.messages == 1000
    with AnyReader([folder], default_typestore=STORE) as reader:
        assert [stamp for _, stamp, _ in reader.messages()] == [log for _, log, _ in wanted]


def test_nothing_is_kept_between_episodes(recorder: Recorder) -> None:
    assert not recorder.put("emergency_stop", BOOL, 1, 1, TRUE)
    recorder.start("one", {})
    fill(recorder, 1)
    first = recorder.stop()
    assert not recorder.put("emergency_stop", BOOL, 1, 1, TRUE)
    recorder.start("two", {})
    assert len(messages_of(first)) == 1
    assert messages_of(recorder.stop()) == []


def test_what_makes_no_sense_is_refused(recorder: Recorder) -> None:
    for call in (recorder.stop, recorder.discard, lambda: recorder.mark(True)):
        with pytest.raises(EpisodeError, match="no episode"):
            call()
    recorder.start("one", {})
    with pytest.raises(EpisodeError, match="one: is being recorded"):
        recorder.start("two", {})
    recorder.stop()
    with pytest.raises(EpisodeError, match="one: exists already"):
        recorder.start("one", {})
    assert not recorder.status.recording


def test_marks_count_whenever_they_come(recorder: Recorder) -> None:
    recorder.start("one", {"skill": "unbox"})
    recorder.mark(False)
    fill(recorder, 3)
    recorder.mark(True)
    folder = recorder.stop()
    assert metadata_of(folder)["success"] == "true"
    before = messages_of(folder)
    recorder.mark(False)
    assert metadata_of(folder) == {"skill": "unbox", "success": "false", "dropped": "0"}
    assert messages_of(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["one"]
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.yaml", "one_0.mcap"]


@pytest.mark.parametrize("stopped", [True, False])
def test_discarded_is_not_found_but_not_lost(
    recorder: Recorder, tmp_path: Path, stopped: bool
) -> None:
    recorder.start("unbox/one", {})
    fill(recorder, 5)
    if stopped:
        recorder.stop()
    target = recorder.discard()
    assert target == tmp_path / DISCARDED / "one"
    assert not list(tmp_path.rglob("*.mcap"))
    (path,) = target.glob("*.mcap.discarded")
    with path.open("rb") as stream:
        assert len(list(make_reader(stream).iter_messages())) == 5
    recorder.start("unbox/one", {})  # its name is free again


def test_a_full_queue_counts_and_does_not_wait(tmp_path: Path) -> None:
    gate = threading.Event()

    def slow(data: bytes) -> bytes:
        gate.wait()
        return data

    recorder = Recorder(tmp_path, capacity=10 * len(TRUE))
    recorder.start("one", {})
    kept = [recorder.put("emergency_stop", BOOL, i, i, TRUE, slow) for i in range(25)]
    gate.set()
    assert kept == [True] * 10 + [False] * 15
    folder = recorder.stop()
    recorder.close()
    assert metadata_of(folder)["dropped"] == "15"
    assert recorder.status.dropped == 15 and "too slow" in recorder.status.complaint
    assert len(messages_of(folder)) == 10


def test_what_cannot_be_converted_is_counted(recorder: Recorder) -> None:
    def refuse(data: bytes) -> bytes:
        raise ValueError("no image")

    recorder.start("one", {})
    recorder.put("camera", BOOL, 1, 1, TRUE, refuse)
    fill(recorder, 1)
    folder = recorder.stop()
    assert len(messages_of(folder)) == 1
    assert recorder.status.dropped == 1
    assert recorder.status.complaint == "camera: no image"


def test_a_failing_disk_ends_the_episode_and_is_told(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    recorder.start("one", {})
    fill(recorder, 1)
    monkeypatch.setattr(EpisodeFile, "write", full)
    fill(recorder, 1)
    with pytest.raises(EpisodeError, match="one: cannot be written: No space left"):
        recorder.stop()
    with pytest.raises(EpisodeError, match="No space left"):
        recorder.stop()
    monkeypatch.undo()
    recorder.start("two", {})
    fill(recorder, 1)
    assert len(messages_of(recorder.stop())) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file")
    with pytest.raises(EpisodeError, match="file"):
        recorder.start("one", {})
    recorder.close()


def test_only_complete_episodes_change_their_metadata(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="none: its metadata"):
        add_metadata(tmp_path / "none", {"success": "true"})


WRITER = """
import sys, time
from pathlib import Path
from moe_robot_control.demonstrations.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]))
recorder.start("unbox/one", {"skill": "unbox", "seed": 7})
recorder.mark(True)
while True:
    now = time.time_ns()
    recorder.put("emergency_stop", "std_msgs/msg/Bool", now, now, b"\\0\\1\\0\\0\\1")
    print(now, flush=True)
    time.sleep(0.002)
"""


def test_killed_it_loses_less_than_a_second(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    put: list[int] = []
    while not put or put[-1] - put[0] < 1.6e9:
        put.append(int(process.stdout.readline()))
    process.kill()
    put += [int(line) for line in process.communicate()[0].splitlines()]
    (path,) = tmp_path.rglob("*.mcap")
    found: list[int] = []
    with path.open("rb") as stream, pytest.raises((McapError, EOFError)):
        for _, _, message in NonSeekingReader(stream).iter_messages(log_time_order=False):
            found.append(message.log_time)
    assert found == put[: len(found)]
    assert put[-1] - found[-1] < 1e9
    facts: dict[str, str] = {}
    with path.open("rb") as stream, pytest.raises((McapError, EOFError)):
        for record in NonSeekingReader(stream).iter_metadata():
            facts |= record.metadata
    assert facts == {"skill": "unbox", "seed": "7", "success": "true"}


def test_definitions_are_those_of_ros() -> None:
    for datatype in DATATYPES:
        message = STORE.types[datatype]
        fields = [line.split()[-1] for line in definition(datatype).split("=" * 80)[0].splitlines()]
        assert fields == [name for name in message.__dataclass_fields__ if name != "__msgtype__"]


def test_every_definition_decodes(recorder: Recorder) -> None:
    """What rosbags serialises by its own definitions, mcap decodes by ours."""
    recorder.start("one", {})
    for index, datatype in enumerate(DATATYPES):
        data = bytes(STORE.serialize_cdr(_example(datatype), datatype))
        recorder.put(f"topic_{index}", datatype, index + 1, 0, data)
    folder = recorder.stop()
    with next(folder.glob("*.mcap")).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        decoded = {
            item.schema.name: item.decoded_message for item in reader.iter_decoded_messages()
        }
    assert set(decoded) == set(DATATYPES)
    assert decoded["sensor_msgs/msg/CameraInfo"].roi.width == 0
    assert decoded["trajectory_msgs/msg/JointTrajectory"].joint_names == []


def _example(datatype: str) -> object:
    """A message of zeros and empty lists."""

    def value(description: tuple) -> object:
        kind, detail = description
        if kind.name == "BASE":
            name = detail[0]
            return "" if name == "string" else (False if name == "bool" else 0)
        if kind.name == "NAME":
            return _example(detail)
        if kind.name == "ARRAY":
            return np.zeros(detail[1])
        (_, (base, *_)) = detail[0]
        return np.zeros(0) if detail[0][0].name == "BASE" and base != "string" else []

    fields = STORE.get_msgdef(datatype).fields
    return STORE.types[datatype](*(value(description) for _, description in fields))
