"""Arms' files: defaults, and errors that name file and entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.control.arm_config import TOPICS, ArmConfig, ArmConfigError
from moe_robot_control.share import share_path

TEXT = share_path("config/arms/panda.yaml").read_text()
KNOWN = sorted(path.stem for path in share_path("config/arms").glob("*.yaml"))


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = tmp_path / "arm.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return path


@pytest.mark.parametrize("name", KNOWN)
def test_every_arm_of_the_package_loads(name: str) -> None:
    arm = ArmConfig.load(name)
    assert arm.name == name and arm.kinematics.is_file()
    assert set(arm.topics) == set(TOPICS)


def test_what_a_file_may_leave_out(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("output:")].replace("  min_width: 0.0\n", "")
    start, end = text.index("collision:"), text.index("cameras:")
    path = tmp_path / "arm.yaml"
    path.write_text(text[:start] + text[end:])
    arm = ArmConfig.load(path)
    assert (arm.output, arm.min_gripper_width) == ("joint_velocity", 0.0)
    assert arm.topics == dict(TOPICS)
    assert arm.keep_out == {} and arm.collision is None


def test_keep_out_boxes_and_ignored_pairs(tmp_path: Path) -> None:
    more = """\
keep_out:
  post: {lower: [0.3, 0.4, 0.0], upper: [0.4, 0.5, 1.0]}
collision:
"""
    arm = ArmConfig.load(changed(tmp_path, "collision:\n", more))
    np.testing.assert_array_equal(arm.keep_out["post"].upper, [0.4, 0.5, 1.0])
    assert arm.collision.ignore == (("panda_link1", "panda_link3"),)
    assert arm.collision.margin > 0


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ("base_frame: panda_link0", "", "'base_frame' is missing"),
        ("base_frame: panda_link0", "base_frame: [1]", "'base_frame' must be text"),
        ("velocity: [2.1750,", "velocity: [fast,", "'joints.velocity' must be 7 numbers"),
        ("velocity: [2.1750,", "velocity: [-1,", "'joints.velocity' must be above zero"),
        ("jerk: [7500.0,", "jerk: [.inf,", "'joints.jerk' must be 7 numbers"),
        ("jerk: [7500.0,", "jerk: [", "'joints.jerk' must be 7 numbers"),
        ("jerk: [7500.0,", "jerk_: [7500.0,", "'joints.jerk' is missing"),
        (
            "home: [0.0,",
            "home: [4.0,",
            "'joints.home' is outside the limits of joint 'panda_joint1'",
        ),
        ("names: [panda_joint1,", "names: [panda_joint2,", "'joints.names' names something twice"),
        ("lower: [-2.8973,", "lower: [3.0,", "joint 'panda_joint1' has a lower limit above"),
        ("max_width: 0.08", "max_width: wide", "'gripper.max_width' must be a number"),
        ("min_width: 0.0", "min_width: 0.09", "'gripper.min_width'"),
        ("orientation: [0.0, 1.0, 0.0, 0.0]", "orientation: [0, 2, 0, 0]", "'orientation'"),
        ("lower: [0.25,", "lower: [0.95,", "'workspace.lower'"),
        ("output: joint_velocity", "output: telepathy", "'output' is 'telepathy'"),
        ("  emergency_stop:", "  emergency_sotp:", "'topics.emergency_sotp' is unknown"),
        ("gripper: gripper_controller/commands", "gripper: 7", "'topics.gripper' must be text"),
        ("margin: 0.01", "margin: -1", "'collision.margin' is negative"),
        ("table: 0.0", "table: oak", "'collision.table' must be a number"),
        (
            "ignore: [[panda_link1, panda_link3]]",
            "ignore: [panda_hand]",
            "'collision.ignore' must be",
        ),
        ("collision:", "keep_out: {post: 5}\ncollision:", "'keep_out.post.lower' is missing"),
        (
            "collision:",
            "keep_out: {post: {lower: [1, 1, 1], upper: [2, 0, 2]}}\ncollision:",
            "'keep_out.post.lower' is not below",
        ),
        ("joints:", "joints: [", "malformed YAML"),
    ],
)
def test_bad_files_name_file_and_entry(tmp_path: Path, old: str, new: str, culprit: str) -> None:
    with pytest.raises(ArmConfigError) as caught:
        ArmConfig.load(changed(tmp_path, old, new))
    assert "arm.yaml" in str(caught.value) and culprit in str(caught.value)


def test_unknown_arm() -> None:
    with pytest.raises(ArmConfigError, match="unknown arm 'pandora'"):
        ArmConfig.load("pandora")
