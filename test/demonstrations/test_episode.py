from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from moe_robot_control.demonstrations.episode import (
    TOPICS,
    EpisodeError,
    EpisodeWriter,
    hash_episodes,
    load_episodes,
    read_episode,
)
from moe_robot_control.policies.spaces import OBJECTS, SKILLS, Scene

STEPS = 40
FRAME = "panda_link0"
FACTS = {"skill": "unbox", "seed": 1_000_003, "success": True, "source": "teacher"}


def make_steps(count: int = STEPS) -> tuple[Scene, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    known = rng.random((count, len(OBJECTS))) < 0.8
    positions = np.where(known[..., None], rng.normal(size=(count, len(OBJECTS), 3)), 0.0)
    scene = Scene(rng.normal(size=(count, 3)), rng.uniform(0, 0.08, count), positions, known)
    return scene, rng.normal(size=(count, 4)), rng.dirichlet(np.ones(len(SKILLS)), count)


def write(folder: Path, count: int = STEPS) -> Path:
    scene, actions, weights = make_steps(count)
    with EpisodeWriter(folder, FACTS, FRAME) as writer:
        for t in range(count):
            now = Scene(
                scene.end_effector[t],
                scene.gripper_width[t],
                scene.positions[t],
                scene.known[t],
            )
            joints = {f"panda_joint{i + 1}": 0.1 * i + t for i in range(7)}
            joints["panda_gripper"] = float(scene.gripper_width[t])
            writer.add(0.05 * t, joints, now, actions[t], weights[t])
    return folder


def mcap_of(folder: Path) -> Path:
    return folder / f"{folder.name}_0.mcap"


def test_round_trip(tmp_path: Path) -> None:
    episode = read_episode(write(tmp_path / "one"))
    scene, actions, weights = make_steps()
    assert len(episode) == STEPS
    assert np.allclose(episode.stamps, 0.05 * np.arange(STEPS), atol=1e-9)
    assert np.array_equal(episode.actions, actions)
    assert np.array_equal(episode.weights, weights)
    assert np.array_equal(episode.scene.end_effector, scene.end_effector)
    assert np.array_equal(episode.scene.gripper_width, scene.gripper_width)
    assert np.array_equal(episode.scene.positions, scene.positions)
    assert np.array_equal(episode.scene.known, scene.known)
    assert episode.metadata == {key: str(value) for key, value in FACTS.items()}


def test_rosbags_reads_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "one")
    scene, actions, _ = make_steps()
    store = get_typestore(Stores.ROS2_JAZZY)
    counts = dict.fromkeys(TOPICS, 0)
    with AnyReader([folder], default_typestore=store) as reader:
        assert reader.message_count == sum(c.msgcount for c in reader.connections)
        for connection, stamp, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            name = connection.topic.lstrip("/")
            assert connection.msgtype == TOPICS[name]
            assert message.header.frame_id == FRAME
            assert stamp == message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if name == "command/twist":
                linear = message.twist.linear
                assert [linear.x, linear.y, linear.z] == list(actions[counts[name], :3])
            counts[name] += 1
    assert counts["joint_states"] == counts["command/gripper"] == STEPS
    for index, name in enumerate(OBJECTS):
        assert counts[f"objects/{name}/pose"] == scene.known[:, index].sum()


def test_mcap_ros2_decoder_reads_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "one")
    _, _, weights = make_steps()
    with mcap_of(folder).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert {chunk.compression for chunk in summary.chunk_indexes} <= {"zstd", "lz4"}
        seen = [
            decoded.decoded_message
            for decoded in reader.iter_decoded_messages(topics=["gate/weights"])
        ]
    assert [list(message.name) for message in seen] == [list(SKILLS)] * STEPS
    assert np.array_equal([list(message.position) for message in seen], weights)


def test_truncated_file_is_read_up_to_its_last_whole_chunk(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", 60)
    content = mcap_of(folder).read_bytes()
    _, actions, _ = make_steps(60)
    lengths = []
    for end in np.linspace(0.2, 0.7, 40) * len(content):
        mcap_of(folder).write_bytes(content[: int(end)])
        episode = read_episode(folder)
        assert np.array_equal(episode.actions, actions[: len(episode)])
        assert episode.metadata["truncated"] == "true"
        assert episode.metadata["skill"] == "unbox"
        lengths.append(len(episode))
    assert lengths == sorted(lengths)
    assert 0 < lengths[0] < lengths[-1]


def test_damaged_bytes_are_never_taken_for_data(tmp_path: Path) -> None:
    folder = write(tmp_path / "one", 60)
    content = mcap_of(folder).read_bytes()
    _, actions, _ = make_steps(60)
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        mcap_of(folder).write_bytes(damaged)
        try:
            episode = read_episode(folder)
        except EpisodeError as error:
            assert "one_0.mcap" in str(error)
        else:
            assert np.array_equal(episode.actions, actions[: len(episode)])


@pytest.mark.parametrize("content", [b"", b"not MCAP at all", b"\x89MCAP0\r\n", bytes(4096)])
def test_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken_0.mcap"
    path.write_bytes(content)
    with pytest.raises(EpisodeError, match=r"broken_0\.mcap"):
        read_episode(path)


def test_missing_episode_is_named(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="nowhere"):
        read_episode(tmp_path / "nowhere")
    with pytest.raises(EpisodeError, match="no episodes"):
        load_episodes(tmp_path)


def test_nothing_recorded_is_overwritten(tmp_path: Path) -> None:
    folder = write(tmp_path / "one")
    before = mcap_of(folder).read_bytes()
    with pytest.raises(EpisodeError, match="exists already"):
        EpisodeWriter(folder, FACTS, FRAME)
    assert mcap_of(folder).read_bytes() == before


def test_crash_of_the_recorder_leaves_what_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "crashed"
    with pytest.raises(RuntimeError), EpisodeWriter(folder, FACTS, FRAME) as writer:
        scene, actions, weights = make_steps(1)
        now = Scene(
            scene.end_effector[0], scene.gripper_width[0], scene.positions[0], scene.known[0]
        )
        writer.add(0.0, {"panda_joint1": 0.0}, now, actions[0], weights[0])
        raise RuntimeError
    assert len(read_episode(folder)) == 1


def test_hash_follows_content(tmp_path: Path) -> None:
    write(tmp_path / "set" / "one")
    before = hash_episodes(tmp_path / "set")
    assert hash_episodes(tmp_path / "set") == before
    write(tmp_path / "set" / "two", 5)
    assert hash_episodes(tmp_path / "set") != before
    assert [len(episode) for episode in load_episodes(tmp_path / "set")] == [STEPS, 5]


def test_episode_is_small(tmp_path: Path) -> None:
    assert mcap_of(write(tmp_path / "one", 150)).stat().st_size < 200_000
