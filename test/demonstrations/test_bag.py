"""Everything whole is read from a damaged file, nothing that is not, and it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graph_recordings import Script, write_recording
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from moe_robot_control.demonstrations.bag import Bag, EpisodeError, find_bag, read_bag, write_bag
from moe_robot_control.demonstrations.episode import read_episode

TRUE = b"\x00\x01\x00\x00\x01"
_Key = tuple[str, int, int, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_bag(write_recording(tmp_path_factory.mktemp("bags") / "one", Script(0.8)))


def keys(bag: Bag) -> list[_Key]:
    return [(each.topic, each.log_time, each.publish_time, each.data) for each in bag.messages]


def written(path: Path) -> list[_Key]:
    """The same by the reference reader."""
    with path.open("rb") as stream:
        return [
            (channel.topic, message.log_time, message.publish_time, message.data)
            for _, channel, message in make_reader(stream).iter_messages(log_time_order=False)
        ]


def test_an_intact_file(original: Path) -> None:
    bag = read_bag(original.parent)
    assert keys(bag) == written(original)
    assert bag.damage == [] and bag.intact == len(bag.messages)
    assert bag.counts["joint_states"] == 80 and bag.counts["objects/visible"] == 16
    assert bag.metadata["skill"] == "push_button" and bag.metadata["success"] == "true"
    assert bag.datatypes["command/twist"] == "geometry_msgs/msg/TwistStamped"


def test_only_topics_asked_for(original: Path) -> None:
    bag = read_bag(original, lambda topic: topic == "objects/visible")
    assert {message.topic for message in bag.messages} == {"objects/visible"}
    assert bag.counts["joint_states"] == 80


def test_written_again_it_is_the_same(original: Path, tmp_path: Path) -> None:
    bag = read_bag(original)
    (tmp_path / "two").mkdir()
    path = tmp_path / "two" / "two_0.mcap"
    write_bag(path, bag.messages, bag.schemas, bag.metadata)
    assert written(path) == written(original)
    assert read_bag(path).metadata == bag.metadata
    with AnyReader([path.parent], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        assert reader.message_count == len(bag.messages)
    assert sorted(each.name for each in path.parent.iterdir()) == ["metadata.yaml", "two_0.mcap"]


def cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content)) :]


def flip(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 6)):
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)


def overwrite(content: bytearray, rng: np.random.Generator) -> None:
    begin = int(rng.integers(len(content)))
    size = int(rng.integers(1, 4000))
    content[begin : begin + size] = rng.bytes(len(content[begin : begin + size]))


def remove(content: bytearray, rng: np.random.Generator) -> None:
    begin = int(rng.integers(len(content)))
    del content[begin : begin + int(rng.integers(1, 4000))]


def zero_the_end(content: bytearray, rng: np.random.Generator) -> None:
    begin = int(rng.integers(len(content)))
    content[begin:] = bytes(len(content) - begin)


@pytest.mark.parametrize("harm", [cut, flip, overwrite, remove, zero_the_end])
def test_fuzzed_files(
    original: Path, tmp_path: Path, harm: Callable[[bytearray, np.random.Generator], None]
) -> None:
    """40 of each kind: 200 damaged bags."""
    content = original.read_bytes()
    truth, chunks = written(original), chunks_of(original)
    everything = set(truth)
    path = tmp_path / "harmed_0.mcap"
    for number in range(40):
        rng = np.random.default_rng([number, len(harm.__name__)])
        damaged = bytearray(content)
        harm(damaged, rng)
        path.write_bytes(damaged)
        try:
            bag = read_bag(path)
        except EpisodeError as error:
            assert str(error).startswith(str(path))
            bag = Bag(path, damage=["all"])
        found = keys(bag)
        assert everything.issuperset(found), "damaged bytes were taken for data"
        assert len(set(found)) == len(found)
        # whatever lies in chunks whose bytes are still there; the first describes all topics
        whole = [
            index for index, (begin, end) in enumerate(chunks) if content[begin:end] in damaged
        ]
        described = 0 in whole or damaged[-2000:] == content[-2000:]
        if described and damaged[:8] == content[:8]:
            kept = sum(messages_in(original, *chunks[index]) for index in whole)
            assert len(found) >= kept
        if len(found) < len(truth):
            assert bag.damage, "messages are missing and nobody tells"
        assert found[: bag.intact] == truth[: bag.intact]
        try:
            read_episode(path)
        except EpisodeError as error:
            assert str(path) in str(error)


def chunks_of(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as stream:
        indexes = make_reader(stream).get_summary().chunk_indexes
    return sorted(
        (index.chunk_start_offset, index.chunk_start_offset + index.chunk_length)
        for index in indexes
    )


_COUNTS: dict[tuple[int, int], int] = {}


def messages_in(path: Path, begin: int, end: int) -> int:
    """Messages of one chunk, counted in a file that has no other."""
    if (begin, end) not in _COUNTS:
        first = chunks_of(path)[0]
        content = path.read_bytes()
        alone = content[: first[1]] + (b"" if begin == first[0] else content[begin:end])
        counted = path.with_name("alone.bin")
        counted.write_bytes(alone)
        total = len(read_bag(counted).messages)
        counted.unlink()
        others = 0 if begin == first[0] else messages_in(path, *first)
        _COUNTS[begin, end] = total - others
    return _COUNTS[begin, end]


def test_what_is_whole_in_a_chunk_that_is_cut_off_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "one_0.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start("ros2")
        schema = writer.register_schema("std_msgs/msg/Bool", "ros2msg", b"bool data")
        channel = writer.register_channel("emergency_stop", "cdr", schema)
        for index in range(1000):
            writer.add_message(channel, index, TRUE, index)
        writer.finish()
    content = path.read_bytes()
    first = content.index(TRUE)
    size = content.index(TRUE, first + 1) - first
    for count in (1, 2, 50, 999):
        path.write_bytes(content[: first + size * (count - 1) + len(TRUE)])
        bag = read_bag(path)
        assert [message.log_time for message in bag.messages] == list(range(count))
        assert "cut off" in bag.damage[0]


@pytest.mark.parametrize("content", [b"", b"no MCAP", bytes(5000), b"\x06" * 3000])
def test_what_is_no_mcap_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken_0.mcap"
    path.write_bytes(content)
    with pytest.raises(EpisodeError, match=r"broken_0\.mcap: not a readable MCAP file"):
        read_bag(path)
    with pytest.raises(EpisodeError, match="nowhere: holds 0 MCAP files"):
        read_bag(tmp_path / "nowhere")


def test_the_reference_reader_refuses_what_is_salvaged(original: Path, tmp_path: Path) -> None:
    """Otherwise a reader of our own would be needless."""
    path = tmp_path / "cut_0.mcap"
    path.write_bytes(original.read_bytes()[:-5000])
    with pytest.raises(McapError):
        written(path)
    assert len(read_bag(path).messages) > 0.7 * len(written(original))
