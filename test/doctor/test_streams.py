"""What the doctor says of what it heard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.doctor.findings import Finding, Level, worst
from moe_robot_control.doctor.stream_checks import (
    check_camera,
    check_clock,
    check_command,
    check_commander,
    check_emergency_stop,
    check_joint_states,
)
from moe_robot_control.doctor.streams import (
    CameraStream,
    CommanderState,
    CommandTopic,
    EmergencyStop,
    JointStream,
)
from moe_robot_control.perception.camera import CameraIntrinsics

ARM = ArmConfig.load("panda")
NAMES = (*ARM.joint_names, ARM.gripper_joint)
HOME = np.append(ARM.home, 0.08)
START = 1_700_000_000_000_000_000


def joints(
    names: tuple[str, ...] = NAMES,
    positions: np.ndarray = HOME,
    rate: float = 100.0,
    age: float = 0.002,
    count: int = 50,
    **others: object,
) -> JointStream:
    return JointStream(
        "/joint_states",
        stamps=[START + round(i * 1e9 / rate) for i in range(count)],
        ages=[age + 0.001 * (i % 7) for i in range(count)],
        publishers=["/driver"],
        names=[names] * count,
        positions=[positions] * count,
        **others,
    )


def camera(rate: float = 25.0, count: int = 20) -> CameraStream:
    return CameraStream(
        "/cameras/left/image_raw",
        stamps=[START + round(i * 1e9 / rate) for i in range(count)],
        ages=[0.01] * count,
        publishers=["/camera"],
        sizes=[(256, 256)] * count,
        encodings=["rgb8"] * count,
        intrinsics=CameraIntrinsics.from_field_of_view(np.deg2rad(46), 256, 256),
    )


def said(findings: list[Finding], level: Level) -> str:
    return " | ".join(f"{f.text} -> {f.advice}" for f in findings if f.level is level)


def changed(name: str, value: float) -> np.ndarray:
    positions = HOME.copy()
    positions[NAMES.index(name)] = value
    return positions


def test_sound_joint_states() -> None:
    (finding,) = check_joint_states(joints(), ARM)
    assert finding.level is Level.OK and "100 times a second" in finding.text


def test_order_and_more_joints_do_not_matter() -> None:
    names = ("torso", *NAMES[::-1])
    found = check_joint_states(joints(names, np.append(1.0, HOME[::-1])), ARM)
    assert worst(found) is Level.OK
    assert "another order (panda_gripper, panda_joint7" in said(found, Level.OK)
    assert "ignored: torso" in said(found, Level.OK)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (joints(NAMES[1:], HOME[1:]), ["'panda_joint1' is missing", "unused names: none"]),
        (
            joints((*NAMES[:-1], "panda_finger_joint1")),
            ["'panda_gripper' is missing; there is 'panda_finger_joint1'", "'gripper.joint'"],
        ),
        (joints((*NAMES[:-1], NAMES[0])), ["named twice"]),
        (joints(positions=HOME[:-1]), ["not as many positions"]),
        (joints(positions=changed("panda_joint3", np.nan)), ["'panda_joint3' is not finite"]),
        (joints(positions=changed("panda_joint2", -1.9)), ["'panda_joint2' is at -1.900 rad"]),
        (joints(positions=changed("panda_gripper", 0.7)), ["opening is 0.700", "gripper.closed"]),
        (joints(rate=30.0), ["comes 30 times a second"]),
        (joints(age=-1.5), ["1.500 s in the future", "chrony"]),
        (joints(age=0.4), ["at least 0.40 s old"]),
        (replace(joints(), stamps=[0] * 50), ["stamps are zero"]),
        (replace(joints(), publishers=["/a", "/b"]), ["2 nodes publish it: /a, /b", "deploy.md"]),
        (JointStream("/joint_states", publishers=["/driver"]), ["/driver would", "broadcaster"]),
        (JointStream("/joint_states", elsewhere=["/left/joint_states"]), ["/left/joint_states"]),
        (JointStream("/joint_states"), ["nobody publishes it", "ROS_DOMAIN_ID"]),
    ],
)
def test_faults_of_joint_states(stream: JointStream, words: list[str]) -> None:
    text = said(check_joint_states(stream, ARM), Level.FAULT)
    assert all(word in text for word in words), text


def test_joint_states_without_velocities() -> None:
    found = check_joint_states(replace(joints(), has_velocities=[True, False]), ARM)
    assert "no velocities" in said(found, Level.WARNING)


def test_joints_in_different_messages() -> None:
    stream = joints()
    for i in range(0, len(stream.names), 2):
        stream.names[i], stream.positions[i] = NAMES[:-1], HOME[:-1]
        stream.names[i + 1], stream.positions[i + 1] = NAMES[-1:], HOME[-1:]
    assert "different joints" in said(check_joint_states(stream, ARM), Level.FAULT)


def test_a_tip_outside_the_workspace() -> None:
    found = check_joint_states(joints(positions=changed("panda_joint1", 2.5)), ARM)
    assert "outside the workspace" in said(found, Level.WARNING)
    assert worst(found) is Level.WARNING


def test_a_sound_camera() -> None:
    assert worst(check_camera("left", camera(), ARM)) is Level.OK


NARROW = CameraIntrinsics.from_field_of_view(np.deg2rad(5), 256, 256)


@pytest.mark.parametrize(
    ("stream", "level", "words"),
    [
        (replace(camera(), encodings=["mono8"] * 20), Level.FAULT, "'mono8', expected"),
        (replace(camera(), sizes=[(640, 480)] * 20), Level.FAULT, "size 640 x 480, but"),
        (replace(camera(), intrinsics=None), Level.FAULT, "nothing arrives"),
        (replace(camera(), calibrated=False), Level.FAULT, "holds no calibration"),
        (replace(camera(), intrinsics=NARROW), Level.FAULT, "outside the image"),
        (replace(camera(), distortion=(0.1, 0.0)), Level.WARNING, "distorted"),
        (camera(rate=15.0), Level.WARNING, "comes 15 times"),
        (camera(rate=5.0), Level.FAULT, "comes 5 times"),
        (CameraStream("/cameras/left/image_raw"), Level.FAULT, "nobody publishes"),
    ],
)
def test_what_is_wrong_with_a_camera(stream: CameraStream, level: Level, words: str) -> None:
    found = check_camera("left", stream, ARM)
    assert worst(found) is level and words in said(found, level), found


def test_commands() -> None:
    kind = "std_msgs/msg/Float64MultiArray"
    topic = CommandTopic("/commands", kind, listeners=[("/controller", kind)])
    assert worst(check_command(topic)) is Level.OK
    assert "nobody listens" in said(check_command(replace(topic, listeners=[])), Level.FAULT)
    other = replace(topic, others=["/rqt"])
    assert "/rqt also sends" in said(check_command(other), Level.FAULT)
    wrong = replace(topic, listeners=[("/controller", "std_msgs/msg/Float64")])
    assert "expects std_msgs/msg/Float64," in said(check_command(wrong), Level.FAULT)


def test_emergency_stop() -> None:
    absent, running = CommanderState(), CommanderState(running=True)
    stop = EmergencyStop("/emergency_stop", publishers=["/button"])
    assert check_emergency_stop(stop, absent).level is Level.OK
    assert check_emergency_stop(stop, running).level is Level.FAULT
    assert check_emergency_stop(replace(stop, listeners=["/c"]), running).level is Level.OK
    assert check_emergency_stop(replace(stop, publishers=[]), absent).level is Level.WARNING


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (CommanderState(), Level.OK),
        (CommanderState(True), Level.FAULT),
        (CommanderState(True, 0, "moving"), Level.OK),
        (CommanderState(True, 1, "standing still: idle"), Level.OK),
        (CommanderState(True, 1, "standing still: no gate weights yet"), Level.WARNING),
        (CommanderState(True, 2, "standing still: emergency stop"), Level.FAULT),
    ],
)
def test_the_commander(state: CommanderState, level: Level) -> None:
    assert check_commander(state).level is level


def test_a_simulations_clock() -> None:
    assert check_clock([]) == []
    (found,) = check_clock(["/mujoco_bridge"])
    assert found.level is Level.WARNING and "/mujoco_bridge" in found.text
