"""What the doctor says of files: good ones, and copies with one thing broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control import cli
from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError
from moe_robot_control.doctor.arm_checks import check_arm, load_arm
from moe_robot_control.doctor.camera_checks import check_cameras, check_image
from moe_robot_control.doctor.findings import Finding, Level, worst
from moe_robot_control.doctor.model_checks import check_models
from moe_robot_control.perception.camera import CameraIntrinsics
from moe_robot_control.share import share_path

POLICIES = share_path("models/policies")
POSES = share_path("models/perception/keypoints.onnx")


def broken(folder: Path, *changes: tuple[str, str], arm: str = "panda") -> Path:
    """A copy of an arm's file with texts replaced."""
    text = share_path(f"config/arms/{arm}.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "arm.yaml"
    path.write_text(text)
    return path


def examine(path: Path) -> list[Finding]:
    arm, finding = load_arm(str(path))
    return [finding] if arm is None else [finding, *check_arm(arm), *check_cameras(arm)]


def assert_found(findings: list[Finding], level: Level, subject: str, text: str) -> None:
    assert any(
        f.level is level and subject in f.subject and text in f"{f.text} {f.advice}"
        for f in findings
    ), findings


@pytest.mark.parametrize("name", ["panda", "ur5e"])
def test_the_packages_arms_have_no_fault(name: str) -> None:
    arm = ArmConfig.load(name)
    findings = [*check_arm(arm), *check_cameras(arm)]
    assert worst(findings) < Level.FAULT, findings
    limited = [f.subject for f in findings if f.level is Level.WARNING]
    assert limited == (["workspace"] if name == "panda" else [])


@pytest.mark.parametrize(
    ("old", "new", "subject", "text"),
    [
        ("base_frame: panda_link0", "", "configuration", "base_frame"),
        ("joints:", "joints: [", "configuration", "malformed YAML"),
        ("velocity: [2.1750,", "velocity: [-2.1750,", "configuration", "joints.velocity"),
        ("acceleration: [15.0,", "acceleration: [0.0,", "configuration", "joints.acceleration"),
        ("jerk: [7500.0,", "jerk: [.nan,", "configuration", "joints.jerk"),
        ("lower: [-2.8973,", "lower: [2.9,", "configuration", "panda_joint1"),
        ("orientation: [0.0, 1.0,", "orientation: [0.0, 2.0,", "configuration", "unit quaternion"),
        ("velocity: [2.1750,", "velocity: [124.6,", "limits of panda_joint1", "degrees"),
        ("upper: [2.8973,", "upper: [166.0,", "limits of panda_joint1", "radians"),
        ("upper: [2.8973,", "upper: [3.1,", "range of panda_joint1", "wider than"),
        ("panda_joint7]", "panda_joint8]", "kinematics", "panda_joint8"),
        ("tip_site: tcp", "tip_site: tool", "kinematics", "'tool'"),
        ("arm.xml", "nowhere.xml", "kinematics", "no such file"),
        ("-0.35, 0.0, -2.35", "-1.2, 0.0, -2.6", "home", "outside the workspace"),
        ("2.0, 0.785398", "0.6, 0.785398", "home", "degrees away from 'orientation'"),
        ("lower: [0.25, -0.50, 0.012]", "lower: [0.25, -0.50, -0.1]", "workspace", "below the"),
        ("upper: [0.75, 0.50, 0.50]", "upper: [750.0, 500.0, 500.0]", "workspace", "metres"),
        ("max_width: 0.08", "max_width: 80", "gripper", "millimetres"),
        ("joint_states: joint_states", "joint_states: 7th", "topics", "not a topic's name"),
        ("gripper: gripper_contr", "gripper: joint_velocity_contr", "topics", "stands for"),
        ("[-0.13734177, 0.30291960,", "[0.13734177, 0.30291960,", "camera left", "looks"),
        (
            "[-0.13734177, 0.3",
            "[0.30291960, 0.85890970, -0.38942405, -0.13734177] # [",
            "camera",
            "up is",
        ),
        ("position: [1.05, 0.72", "position: [-0.6, -0.9", "camera left", "behind"),
    ],
)
def test_a_broken_file_is_faulted(
    tmp_path: Path, old: str, new: str, subject: str, text: str
) -> None:
    assert_found(examine(broken(tmp_path, (old, new))), Level.FAULT, subject, text)


@pytest.mark.parametrize(
    ("old", "new", "subject", "text"),
    [
        ("acceleration: [15.0,", "acceleration: [1.5,", "limits of panda_joint1", "to stop"),
        ("jerk: [7500.0,", "jerk: [75.0,", "limits of panda_joint1", "jerk"),
        ("max_width: 0.08", "max_width: 0.05", "gripper", "trained with 0.08"),
        ("joint_states: joint_states", "joint_states: /joint_states", "topics", "absolute"),
        ("position: [1.05, 0.72", "position: [1.05, -0.62", "cameras", "only"),
        ("2.0, 0.785398", "2.2, 0.785398", "home", "11 degrees"),
    ],
)
def test_what_is_odd_is_warned_of(
    tmp_path: Path, old: str, new: str, subject: str, text: str
) -> None:
    assert_found(examine(broken(tmp_path, (old, new))), Level.WARNING, subject, text)


def test_unreachable_corners_are_named(tmp_path: Path) -> None:
    change = ("upper: [0.62, 0.42, 0.35]", "upper: [0.62, 0.42, 0.55]")
    findings = examine(broken(tmp_path, change, arm="ur5e"))
    assert_found(findings, Level.WARNING, "workspace", "(0.62, 0.42, 0.55)")
    change = ("upper: [0.62, 0.42, 0.35]", "upper: [1.1, 0.9, 0.8]")
    assert_found(examine(broken(tmp_path, change, arm="ur5e")), Level.FAULT, "workspace", "smaller")


def test_no_cameras(tmp_path: Path) -> None:
    text = share_path("config/arms/panda.yaml").read_text()
    head, rest = text.split("cameras:")
    path = tmp_path / "arm.yaml"
    path.write_text(f"{head}cameras: {{}}\noutput:{rest.partition('output:')[2]}")
    assert_found(examine(path), Level.FAULT, "cameras", "none")


def test_a_box_over_everything(tmp_path: Path) -> None:
    text = share_path("config/arms/panda.yaml").read_text()
    path = tmp_path / "arm.yaml"
    for box, words in (
        ("lower: [0, -1, 0], upper: [1, 1, 1]", "whole workspace"),
        ("lower: [0.3, -0.1, 0.2], upper: [0.6, 0.1, 0.5]", "tip at home"),
    ):
        path.write_text(f"{text}keep_out:\n  box: {{{box}}}\n")
        assert_found(examine(path), Level.FAULT, "keep-out box", words)


def test_the_workspace_in_the_image() -> None:
    arm = ArmConfig.load("panda")
    lens = CameraIntrinsics.from_field_of_view(np.deg2rad(46), 256, 256)
    assert check_image("left", arm, lens).level is Level.OK
    narrow = CameraIntrinsics.from_field_of_view(np.deg2rad(8), 256, 256)
    found = check_image("left", arm, narrow)
    assert found.level is Level.FAULT and "outside the image" in found.text


def test_the_packages_models_have_no_fault() -> None:
    findings = check_models(POLICIES, POSES)
    assert len(findings) == 9
    assert worst(findings) is Level.OK, findings


@pytest.mark.parametrize(
    ("damage", "subject", "text"),
    [
        (lambda f: (f / "unbox.onnx").unlink(), "expert unbox", "no such model file"),
        (lambda f: (f / "unbox.onnx").write_bytes(b"junk"), "expert unbox", "not a readable"),
        (
            lambda f: shutil.copy(f / "push_button.onnx", f / "unbox.onnx"),
            "expert unbox",
            "has shape",
        ),
        (
            lambda f: shutil.copy(f / "pick_and_drop.onnx", f / "pick_and_place.onnx"),
            "expert pick_and_place",
            "not the file that its manifest describes",
        ),
        (
            lambda f: (f / "manipulation_network.json").write_text(json.dumps({})),
            "gate",
            "not the file",
        ),
    ],
)
def test_a_damaged_model_is_faulted(tmp_path: Path, damage, subject: str, text: str) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(POLICIES, folder)
    damage(folder)
    faults = [f for f in check_models(folder, POSES) if f.level is Level.FAULT]
    assert [f.subject for f in faults] == [subject]
    assert text in faults[0].text


def test_other_models(tmp_path: Path) -> None:
    (missing,) = [f for f in check_models(POLICIES, tmp_path / "no.onnx") if f.level]
    assert missing.subject == "pose network" and "no such model file" in missing.text
    assert worst(check_models(tmp_path / "nowhere", POSES)) is Level.FAULT
    assert_found(check_models(POLICIES, POSES, "soft"), Level.FAULT, "policy soft", "soft.onnx")
    folder = tmp_path / "policies"
    shutil.copytree(POLICIES, folder)
    (folder / "unbox.json").unlink()
    assert_found(check_models(folder, POSES), Level.WARNING, "expert unbox", "no manifest")


def test_exit_status_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--arm", "ur5e", "--offline"]) == 0
    printed = capsys.readouterr().out
    assert "expert push_button" in printed and "no faults, no warnings" in printed
    path = broken(tmp_path, ("max_width: 0.08", "max_width: 80"))
    assert cli.main(["doctor", "--arm", str(path), "--offline"]) == 1
    printed = capsys.readouterr().out
    assert "fault" in printed and "is it millimetres?" in printed and "1 fault," in printed
    path = broken(tmp_path, ("base_frame: panda_link0", ""))
    assert cli.main(["doctor", "--arm", str(path), "--offline"]) == 1
    assert "base_frame" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--arm", "octopus"], "octopus"),
        (["--arm", "/nowhere/arm.yaml"], "/nowhere/arm.yaml"),
        (["--arm", "panda", "--timeout", "0"], "--timeout"),
        (["--arm", "panda", "--timeout", "nan"], "--timeout"),
    ],
)
def test_bad_options_are_one_line(
    words: list[str], culprit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--offline", *words]) == 2
    captured = capsys.readouterr()
    assert culprit in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_unknown_arm_is_no_finding() -> None:
    with pytest.raises(ArmConfigError, match="octopus"):
        load_arm("octopus")
