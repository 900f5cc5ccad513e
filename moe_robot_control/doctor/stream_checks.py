"""Whether what a running robot says fits the arm's file."""

from __future__ import annotations

import difflib

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics, KinematicsError
from moe_robot_control.doctor.camera_checks import check_image
from moe_robot_control.doctor.findings import Finding, fault, ok, warning
from moe_robot_control.doctor.streams import (
    CameraStream,
    CommanderState,
    CommandTopic,
    EmergencyStop,
    JointStream,
    Robot,
    Stream,
)

JOINT_RATE = 45.0
"""Joint states may come no more rarely [1/s]: 50 with some jitter."""
CAMERA_RATE = 18.0
"""Below this, decisions come more rarely than in training [1/s]: 20 with some jitter."""
SLOWEST_CAMERA = 10.0
"""Below this the scene changes between images [1/s]."""
OLDEST = 0.1
"""A message that is older when it arrives [s] is too late to act on."""
FUTURE = 0.01
"""A stamp so far ahead of this machine's clock [s] tells of clocks that differ."""
ENCODINGS = ("rgb8", "bgr8")
SLACK = 0.02
"""Measured positions may be this far beyond a limit [rad] by noise and calibration."""
_MERGE = "put arm and gripper into one message: joint_state_merger, see docs/deploy.md"
_CLOCKS = "synchronise the machines' clocks (chrony); in a simulation, see /clock"


def check_robot(robot: Robot, arm: ArmConfig) -> list[Finding]:
    """Everything that was heard and seen of an arm."""
    findings = [*check_clock(robot.clocks), *check_joint_states(robot.joints, arm)]
    for name, stream in robot.cameras.items():
        findings += check_camera(name, stream, arm)
    for topic in robot.commands:
        findings += check_command(topic)
    findings.append(check_emergency_stop(robot.emergency_stop, robot.commander))
    return [*findings, check_commander(robot.commander)]


def check_joint_states(stream: JointStream, arm: ArmConfig) -> list[Finding]:
    """Arrival, names, values, rate and stamps of the joint states."""
    subject = stream.topic
    findings = _check_publishers(stream, _MERGE)
    if not stream.stamps:
        return [*findings, _silence(stream, "is the joint_state_broadcaster active?")]
    findings += _check_names(stream, arm)
    if not any(finding.level for finding in findings):
        findings += _check_values(stream, arm)
    if 0 < stream.rate < JOINT_RATE:
        text = f"comes {stream.rate:.0f} times a second, {JOINT_RATE:.0f} are needed at least"
        advice = "raise the broadcaster's (or controller manager's) update rate"
        findings.append(fault(subject, text, advice))
    findings += _check_stamps(stream)
    if not all(stream.has_velocities):
        text = "tells no velocities: after a pause the commander cannot know how the arm moves"
        findings.append(warning(subject, text, "let the broadcaster publish them, too"))
    if not findings:
        text = f"{len(arm.joint_names)} joints and gripper, {stream.rate:.0f} times a second"
        findings = [ok(subject, f"{text}, {_age(stream)}")]
    return findings


def _check_names(stream: JointStream, arm: ArmConfig) -> list[Finding]:
    subject = stream.topic
    wanted = (*arm.joint_names, arm.gripper_joint)
    lists = sorted(set(stream.names))
    if any(len(set(names)) < len(names) for names in lists):
        return [fault(subject, "a joint is named twice in one message", "mend the publisher")]
    seen = [name for names in lists for name in names]
    missing = [name for name in wanted if name not in seen]
    findings = []
    for name in missing:
        entry = "gripper.joint" if name == arm.gripper_joint else "joints.names"
        spare = [other for other in dict.fromkeys(seen) if other not in wanted]
        near = difflib.get_close_matches(name, spare, n=1, cutoff=0.4)
        text = f"joint {name!r} is missing"
        if near:
            findings.append(
                fault(
                    subject,
                    f"{text}; there is {near[0]!r}",
                    f"if that is it, write {near[0]!r} into {entry!r}",
                )
            )
        else:
            others = ", ".join(spare) or "none"
            advice = f"publish it, or name another in {entry!r}; unused names: {others}"
            findings.append(fault(subject, text, advice))
    if missing:
        return findings
    if not all(set(wanted) <= set(names) for names in lists):
        text = "different messages carry different joints; the commander needs all in each"
        return [fault(subject, text, _MERGE)]
    present = tuple(name for name in lists[0] if name in wanted)
    if present != wanted:
        text = f"joints come in another order ({', '.join(present)})"
        findings.append(ok(subject, f"{text}; they are told apart by name"))
    extra = [name for name in dict.fromkeys(seen) if name not in wanted]
    if extra:
        findings.append(ok(subject, f"more joints than needed, ignored: {', '.join(extra)}"))
    return findings


def _check_values(stream: JointStream, arm: ArmConfig) -> list[Finding]:
    subject = stream.topic
    if any(len(n) != len(p) for n, p in zip(stream.names, stream.positions, strict=True)):
        return [fault(subject, "not as many positions as names", "mend the publisher")]
    wanted = (*arm.joint_names, arm.gripper_joint)
    values = np.array(
        [
            [positions[names.index(name)] for name in wanted]
            for names, positions in zip(stream.names, stream.positions, strict=True)
        ]
    )
    findings = []
    for column, name in enumerate(wanted):
        if not np.isfinite(values[:, column]).all():
            text = f"position of {name!r} is not finite"
            findings.append(
                fault(subject, text, "is the arm switched on and its driver connected?")
            )
    if findings:
        return findings
    q = values[-1, :-1]
    for joint, name in enumerate(arm.joint_names):
        low, high = arm.joint_lower[joint], arm.joint_upper[joint]
        if not low - SLACK <= q[joint] <= high + SLACK:
            text = f"{name!r} is at {q[joint]:.3f} rad, outside its limits {low:g} to {high:g}"
            advice = "move it inside by hand; if it is inside, check the units and 'joints.lower'"
            findings.append(fault(subject, text, advice))
    opening = arm.gripper_opening(float(values[-1, -1]))
    if not arm.min_gripper_width - 0.01 <= opening <= arm.max_gripper_width + 0.01:
        text = f"the gripper's opening is {opening:.3f} m, not 0 to {arm.max_gripper_width:g} m"
        advice = "if its joint is not the opening, set 'gripper.closed' and 'gripper.open'"
        findings.append(fault(subject, text, advice))
    if not findings:
        findings += _check_tip(subject, q, arm)
    return findings


def _check_tip(subject: str, q: np.ndarray, arm: ArmConfig) -> list[Finding]:
    try:
        kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
    except KinematicsError:
        return []  # told by the checks of the arm's file
    tip, _ = kinematics.forward(q)
    if ((tip >= arm.workspace_lower) & (tip <= arm.workspace_upper)).all():
        return []
    text = f"the tip is at ({tip[0]:.2f}, {tip[1]:.2f}, {tip[2]:.2f}), outside the workspace"
    return [warning(subject, text, "move the arm to its home by its own means before it acts")]


def check_camera(name: str, stream: CameraStream, arm: ArmConfig) -> list[Finding]:
    """Arrival, size, encoding, rate and stamps of a camera's images, and what they show."""
    subject = stream.topic
    findings = _check_publishers(stream, "give each camera its own name")
    if not stream.stamps:
        return [*findings, _silence(stream, "is the camera's driver running?")]
    bad = [encoding for encoding in stream.encodings if encoding not in ENCODINGS]
    if bad:
        text = f"encoding {bad[0]!r}, expected {' or '.join(map(repr, ENCODINGS))}"
        findings.append(fault(subject, text, "set it in the driver, or convert with image_proc"))
    findings += _check_calibration(name, stream, arm)
    rate = stream.rate
    if 0 < rate < CAMERA_RATE:
        text = f"comes {rate:.0f} times a second, the policies decide 20 times"
        report = fault if rate < SLOWEST_CAMERA else warning
        findings.append(report(subject, text, "raise the camera's frame rate"))
    findings += _check_stamps(stream)
    if not findings:
        findings = [ok(subject, f"{stream.encodings[-1]}, {rate:.0f} Hz, {_age(stream)}")]
        findings.append(check_image(name, arm, stream.intrinsics))
    return findings


def _check_calibration(name: str, stream: CameraStream, arm: ArmConfig) -> list[Finding]:
    info = stream.topic.removesuffix("image_raw") + "camera_info"
    if not stream.calibrated:
        advice = "calibrate the camera's lens (camera_calibration)"
        return [fault(info, "holds no calibration: its focal lengths are zero", advice)]
    intrinsics = stream.intrinsics
    if intrinsics is None:
        return [fault(info, "nothing arrives", "let the driver publish it beside the images")]
    expected = intrinsics.width, intrinsics.height
    wrong = [size for size in stream.sizes if size != expected]
    if wrong:
        sizes = [f"{width} x {height}" for width, height in (wrong[0], expected)]
        text = f"size {sizes[0]}, but camera_info says {sizes[1]}"
        return [fault(stream.topic, text, "publish the calibration of this resolution")]
    findings = []
    if any(abs(value) > 1e-6 for value in stream.distortion):
        text = "the lens is distorted, and images are taken as those of a pinhole"
        advice = "rectify them (image_proc) and publish the rectified camera's info"
        findings.append(warning(info, text, advice))
    seen = check_image(name, arm, intrinsics)
    return [*findings, seen] if seen.level else findings


def check_command(topic: CommandTopic) -> list[Finding]:
    """Whether a controller listens to commands, and nobody else sends any."""
    findings = []
    wrong = [(node, kind) for node, kind in topic.listeners if kind != topic.kind]
    if wrong:
        text = f"{wrong[0][0]} expects {wrong[0][1]}, the commander sends {topic.kind}"
        findings.append(fault(topic.topic, text, "another controller, or another 'output'"))
    elif not topic.listeners:
        advice = "is the controller active (ros2 control list_controllers), the topic's name right?"
        findings.append(fault(topic.topic, "nobody listens to commands", advice))
    if topic.others:
        text = f"{', '.join(topic.others)} also sends commands"
        findings.append(fault(topic.topic, text, "stop it: the arm would follow both by turns"))
    if not findings:
        listeners = ", ".join(node for node, _ in topic.listeners)
        findings.append(ok(topic.topic, f"{listeners} listens, nobody else sends"))
    return findings


def check_emergency_stop(stop: EmergencyStop, commander: CommanderState) -> Finding:
    """Whether a button is wired to the commander."""
    if commander.running and not stop.listeners:
        advice = "'topics.emergency_stop' of the running commander is another"
        return fault(stop.topic, "the commander does not listen to it", advice)
    if stop.unheard:
        text = f"{', '.join(stop.unheard)} publishes best effort, which the commander cannot hear"
        return fault(stop.topic, text, "publish it reliably")
    if not stop.publishers:
        advice = "the arm's own button remains; publish std_msgs/Bool true here to stop by software"
        return warning(stop.topic, "nobody publishes it: no button is wired", advice)
    return ok(stop.topic, f"published by {', '.join(stop.publishers)}")


def check_commander(commander: CommanderState) -> Finding:
    """What the velocity commander says of itself."""
    subject = "velocity_commander"
    if not commander.running:
        return ok(subject, "does not run yet: moe-robot-control up deploy")
    if commander.level is None:
        return fault(subject, "runs, but sends no diagnostics", "is it active? ros2 lifecycle get")
    text = commander.message + (" (dry run)" if commander.dry_run else "")
    if commander.level >= 2:
        return fault(subject, text, "find out why, then call ~/release")
    # waiting in idle is how it begins
    if commander.level == 1 and not text.startswith("standing still: idle"):
        return warning(subject, text)
    return ok(subject, text)


def check_clock(publishers: list[str]) -> list[Finding]:
    """A simulation's clock has no place beside a real arm."""
    if not publishers:
        return []
    text = f"published by {', '.join(publishers)}: a simulation runs; ages are by its clock"
    return [warning("/clock", text, "beside a real arm, use another ROS_DOMAIN_ID")]


def _check_publishers(stream: Stream, advice: str) -> list[Finding]:
    if len(stream.publishers) < 2:
        return []
    names = ", ".join(sorted(stream.publishers))
    return [fault(stream.topic, f"{len(stream.publishers)} nodes publish it: {names}", advice)]


def _check_stamps(stream: Stream) -> list[Finding]:
    subject = stream.topic
    if not any(stream.stamps):
        return [fault(subject, "the stamps are zero", "let the driver stamp what it measures")]
    # the least delayed message tells the difference of the clocks
    age = min(stream.ages)
    if age < -FUTURE:
        return [fault(subject, f"stamped {-age:.3f} s in the future: clocks differ", _CLOCKS)]
    if age > OLDEST:
        text = f"at least {age:.2f} s old on arrival: a clock is behind, or the way too long"
        return [fault(subject, text, _CLOCKS)]
    return []


def _silence(stream: Stream, advice: str) -> Finding:
    if stream.publishers:
        text = f"{', '.join(stream.publishers)} would publish it, but nothing arrives"
        return fault(stream.topic, text, advice)
    if stream.elsewhere:
        where = ", ".join(stream.elsewhere[:4])
        text = f"nobody publishes it; of this kind there are: {where}"
        return fault(stream.topic, text, "remap it, or give --namespace")
    network = "are ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE the same?"
    return fault(stream.topic, "nobody publishes it", f"{advice} {network}")


def _age(stream: Stream) -> str:
    return f"{1e3 * max(min(stream.ages), 0.0):.0f} ms old at best"
