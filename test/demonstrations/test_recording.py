"""Recordings of the graph as aligned arrays, and what was missing in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_recordings import (
    ARM,
    START,
    TICK,
    Script,
    joints_at,
    opening_at,
    position_of,
    twist_at,
    write_recording,
)

from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.demonstrations.bag import EpisodeError, read_bag
from moe_robot_control.demonstrations.episode import load_episodes, read_episode
from moe_robot_control.demonstrations.recording import Recording, align
from moe_robot_control.policies.spaces import OBJECTS, SKILLS


def recording(folder: Path, script: Script | None = None) -> Recording:
    return align(read_bag(write_recording(folder, script)))


def test_everything_is_where_it_belongs(tmp_path: Path) -> None:
    found = recording(tmp_path / "one")
    times = 0.05 * np.arange(40)
    assert np.allclose(found.stamps, 10.0 + times)
    assert np.allclose(found.joints, [joints_at(time) for time in times])
    kinematics = Kinematics(ARM.kinematics, ARM.joint_names, ARM.tip_site)
    tips = [kinematics.forward(joints_at(time))[0] for time in times]
    assert np.allclose(found.scene.end_effector, tips)
    assert np.allclose(found.scene.gripper_width, [opening_at(time) for time in times])
    assert found.scene.known.all()
    assert np.allclose(found.scene.positions, [[position_of(name) for name in OBJECTS]] * 40)
    # commands come every 20 ms: the last before the end of each decision's period
    ends = np.floor((times + 0.05 - 1e-6) / 0.02) * 0.02
    assert np.allclose(found.actions[:, :3], [twist_at(end) for end in ends])
    # without a header: by the time at which they were received, 2 ms after the decision's
    assert np.allclose(found.actions[:, 3], [opening_at(end) for end in ends])
    assert np.array_equal(found.weights, np.tile(np.eye(7)[SKILLS.index("push_button")], (40, 1)))
    assert found.commanded.all() and found.operator.all()
    assert not found.gaps.any() and found.incomplete == found.surplus == 0
    assert found.undecodable == {}


def test_a_gripper_command_that_tells_its_stamp_counts_from_then(tmp_path: Path) -> None:
    """However late it was received; here all by half a second."""

    def tell(topic: str, index: int, message: dict[str, Any]) -> None:
        if topic == ARM.topics["gripper"]:
            stamp = START + 2 * TICK * index - 5 * 10**8
            message["layout"]["dim"] = [{"label": str(stamp), "size": 1, "stride": 1}]

    found = recording(tmp_path / "one", Script(change=tell))
    # in the last half second the last one stays in force
    ends = np.minimum(0.05 * np.arange(40) + 0.54, 1.98)
    assert np.allclose(found.actions[:, 3], [opening_at(end) for end in ends])


def test_only_what_somebody_commanded_is_an_episode(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "one", Script(operator=(0.5, 1.5)))
    found = align(read_bag(folder))
    assert found.commanded.sum() == 20
    episode = read_episode(folder)
    assert np.allclose(episode.stamps, 10.5 + 0.05 * np.arange(20))
    assert episode.operator.all()
    assert episode.metadata["success"] == "True" and episode.metadata["operator"] == "someone"
    nobody = write_recording(tmp_path / "two", Script(operator=(9.0, 9.0)))
    with pytest.raises(EpisodeError, match=r"two_0\.mcap: nobody commanded"):
        read_episode(nobody)


def test_more_scenes_than_decisions_are_resampled(tmp_path: Path) -> None:
    found = recording(tmp_path / "one", Script(frames=2 * 10**7, cameras=()))
    assert np.abs(found.stamps - 10.0 - 0.05 * np.arange(len(found))).max() < 0.0251
    assert len(found) + found.surplus == 100
    assert not found.gaps.any()


def test_missing_frames_and_objects_are_reported(tmp_path: Path) -> None:
    def keep(topic: str, index: int) -> bool:
        return (topic, index) != ("objects/visible", 3) and not (
            topic == "objects/vial/pose" and 10 <= index < 15
        )

    found = recording(tmp_path / "one", Script(keep=keep))
    assert len(found) == 34
    assert found.gaps.sum() == 6 and sorted(found.gaps)[-2:] == [1, 5]
    assert found.incomplete == 5


def test_what_is_not_finite_is_never_seen(tmp_path: Path) -> None:
    def change(topic: str, index: int, message: dict[str, Any]) -> None:
        if topic == "joint_states" and index % 7 == 0:
            message["position"][2] = float("nan")
        if topic == "objects/vial/pose" and index == 5:
            message["pose"]["pose"]["position"]["x"] = float("inf")
        if topic == "command/twist" and 20 <= index < 30:
            message["twist"]["linear"]["y"] = float("nan")

    found = recording(tmp_path / "one", Script(change=change))
    arrays = [found.actions, found.joints, found.scene.positions, found.scene.end_effector]
    assert all(np.isfinite(array).all() for array in arrays)
    assert 0 < found.commanded.sum() < len(found)
    assert found.incomplete == 1


def test_time_that_is_set_back_is_refused(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "one", Script(seconds=1.5))
    bag = read_bag(folder)
    bag.messages += bag.messages
    with pytest.raises(EpisodeError, match=r"one_0\.mcap: time is set back after 1\.5 s"):
        align(bag)


def test_another_type_under_a_known_name_is_named(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "one")
    bag = read_bag(folder)
    bag.messages = [
        message
        if message.topic != "command/twist"
        else type(message)(message.topic, "sensor_msgs/msg/JointState", 0, 0, bag.messages[0].data)
        for message in bag.messages
    ]
    with pytest.raises(EpisodeError, match="command/twist: sensor_msgs/msg/JointState is not"):
        align(bag)


@pytest.mark.parametrize("lost", ["joint_states", "objects/visible", "objects/box/pose"])
def test_a_stuck_source_is_no_step(tmp_path: Path, lost: str) -> None:
    folder = write_recording(tmp_path / "one", Script(keep=lambda topic, _: topic != lost))
    with pytest.raises(EpisodeError, match="no scene is complete"):
        read_episode(folder)


def test_failures_are_left_out_on_request(tmp_path: Path) -> None:
    for name, success in (("a", "true"), ("b", "false"), ("c", "unknown")):
        write_recording(tmp_path / "set" / name, Script(0.3, metadata={"success": success}))
    told = [each.metadata.get("success") for each in load_episodes(tmp_path / "set")]
    assert told == ["True", "False", None]
    told = [each.metadata.get("success") for each in load_episodes(tmp_path / "set", True)]
    assert told == ["True", None]
    with pytest.raises(EpisodeError, match="all 1 episodes failed"):
        load_episodes(tmp_path / "set" / "b", True)
