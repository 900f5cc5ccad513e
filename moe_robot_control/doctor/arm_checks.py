"""Whether an arm's file makes sense: limits, home, workspace, gripper, topics."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import mujoco
import numpy as np

from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.control.kinematics import Kinematics, KinematicsError
from moe_robot_control.doctor.findings import Finding, fault, ok, warning
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH
from moe_robot_control.share import share_path

FASTEST_JOINT = 10.0
"""No common arm's joint turns faster [rad/s]; larger figures are degrees."""
SLOWEST_STOP = 1.0
"""A joint that needs longer to stop from its full speed [s] can hardly be stopped in time."""
HOME_MARGIN = 0.05
"""Home should be this far inside the joint limits [rad]."""
REACH_TOLERANCE = 0.01
"""A point counts as reached within this distance [m]..."""
TILT_TOLERANCE = np.deg2rad(3.0)
"""... and with the held orientation within this angle [rad]."""
_TOPIC = re.compile(r"~?/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def load_arm(name_or_path: str) -> tuple[ArmConfig | None, Finding]:
    """Read an arm's file.

    Returns:
        The arm, or None where its file has a fault, and what to report.

    Raises:
        ArmConfigError: there is no such arm or file.
    """
    try:
        arm = ArmConfig.load(name_or_path)
    except ArmConfigError as error:
        if not Path(name_or_path).is_file() and _of_package(name_or_path) is None:
            raise
        advice = "mend this entry and ask again: the file was read no further"
        return None, fault("configuration", str(error), advice)
    return arm, ok("configuration", f"arm {arm.name!r}: all entries are there")


def _of_package(name: str) -> Path | None:
    path = share_path(f"config/arms/{name}.yaml")
    return path if path.is_file() else None


def check_arm(arm: ArmConfig) -> list[Finding]:
    """All that can be told from the arm's file and its MJCF."""
    findings = [*check_limits(arm), check_gripper(arm), check_topics(arm)]
    try:
        kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
    except KinematicsError as error:
        advice = "see 'Another arm' in docs/deploy.md for what the MJCF must hold"
        return [*findings, fault("kinematics", str(error), advice)]
    return [
        *findings,
        *check_ranges(arm),
        *check_home(arm, kinematics),
        *check_workspace(arm, kinematics),
        *check_keep_out(arm, kinematics),
        check_commander(arm),
    ]


def check_limits(arm: ArmConfig) -> list[Finding]:
    """Limits of the joints that cannot be meant. `ArmConfig` has seen to signs and order."""
    findings = []
    for joint, name in enumerate(arm.joint_names):
        subject = f"limits of {name}"
        lower, upper = arm.joint_lower[joint], arm.joint_upper[joint]
        velocity, acceleration = arm.joint_velocity[joint], arm.joint_acceleration[joint]
        if max(-lower, upper) > 2 * np.pi + 1e-3:
            text = f"position limits {lower:g} to {upper:g} rad are more than a turn away from zero"
            findings.append(fault(subject, text, "are they degrees? limits are radians"))
        if velocity > FASTEST_JOINT:
            text = f"velocity limit {velocity:g} rad/s is faster than any common arm"
            findings.append(fault(subject, text, "are they degrees? limits are rad/s"))
        if velocity / acceleration > SLOWEST_STOP:
            text = (
                f"needs {velocity / acceleration:.1f} s to stop from {velocity:g} rad/s "
                f"at {acceleration:g} rad/s^2"
            )
            findings.append(warning(subject, text, "lower the velocity or raise the acceleration"))
        rise = acceleration / arm.joint_jerk[joint]
        if rise > 0.1:
            text = f"at its jerk limit needs {rise:.2f} s until it brakes with full acceleration"
            findings.append(warning(subject, text, "raise 'joints.jerk'"))
    return findings or [ok("limits", f"of {len(arm.joint_names)} joints are plausible")]


def check_ranges(arm: ArmConfig) -> list[Finding]:
    """The joint limits of the arm's file against the ranges of its MJCF."""
    model = mujoco.MjModel.from_xml_path(str(arm.kinematics))
    findings = []
    for joint, name in enumerate(arm.joint_names):
        subject = f"range of {name}"
        if not model.joint(name).limited[0]:
            text = f"{arm.kinematics.name} gives the joint no range to compare with"
            findings.append(warning(subject, text))
            continue
        low, high = model.joint(name).range
        lower, upper = arm.joint_lower[joint], arm.joint_upper[joint]
        if lower < low - 1e-3 or upper > high + 1e-3:
            text = (
                f"configured {lower:g} to {upper:g} rad is wider than {low:g} to {high:g} rad "
                f"in {arm.kinematics.name}"
            )
            findings.append(fault(subject, text, "take the narrower limits of the two"))
    return findings or [ok("ranges", f"the limits are within those of {arm.kinematics.name}")]


def check_home(arm: ArmConfig, kinematics: Kinematics) -> list[Finding]:
    """Home: well inside the limits, in the workspace, fingers as held, touching nothing."""
    findings = []
    margin = np.minimum(arm.home - arm.joint_lower, arm.joint_upper - arm.home)
    joint = int(np.argmin(margin))
    if margin[joint] < HOME_MARGIN:
        text = f"{arm.joint_names[joint]} is {max(margin[joint], 0):.3f} rad from its limit"
        findings.append(warning("home", text, f"keep {HOME_MARGIN} rad away from every limit"))
    position, rotation = kinematics.forward(arm.home)
    outside = (position < arm.workspace_lower) | (position > arm.workspace_upper)
    if outside.any():
        text = f"the tip is at {_point(position)}, outside the workspace"
        findings.append(fault("home", text, "move 'joints.home' or widen 'workspace'"))
    tilt = _angle(arm.rotation, rotation)
    if tilt > np.deg2rad(45):
        text = f"the tip is turned {np.rad2deg(tilt):.0f} degrees away from 'orientation'"
        findings.append(fault("home", text, "check the tip's axes in the MJCF and 'orientation'"))
    elif tilt > TILT_TOLERANCE:
        text = f"the tip is turned {np.rad2deg(tilt):.0f} degrees away from 'orientation'"
        findings.append(warning("home", text, "the arm will turn its hand when it starts"))
    touching = _touching(arm)
    if touching:
        findings.append(fault("home", touching, "choose another home, or mend the MJCF's geometry"))
    return findings or [ok("home", f"the tip is at {_point(position)}, in the workspace")]


def check_workspace(arm: ArmConfig, kinematics: Kinematics) -> list[Finding]:
    """Whether the arm gets to the workspace's centre and corners with the held orientation."""
    lower, upper = arm.workspace_lower, arm.workspace_upper
    findings = []
    table = arm.collision.table if arm.collision else None
    if table is not None and lower[2] < table:
        text = f"begins {table - lower[2]:.3f} m below the table"
        findings.append(fault("workspace", text, "raise 'workspace.lower' above the table"))
    corners = np.array(list(itertools.product(*zip(lower, upper, strict=True))))
    points = np.vstack([(lower + upper) / 2, corners])
    reached = reachable(arm, kinematics, points)
    missed = [_point(point) for point in corners[~reached[1:]]]
    if not reached[0]:
        text = f"its centre {_point(points[0])} cannot be reached with the held orientation"
        findings.append(fault("workspace", text, "'workspace' is in metres in the base frame"))
    elif len(missed) > len(corners) // 2:
        text = f"most corners cannot be reached with the held orientation: {', '.join(missed)}"
        findings.append(fault("workspace", text, "make the box smaller"))
    elif missed:
        text = f"corners that cannot be reached with the held orientation: {', '.join(missed)}"
        findings.append(warning("workspace", text, "the arm slows down and stops on its way there"))
    return findings or [ok("workspace", "all corners are reached with the held orientation")]


def reachable(arm: ArmConfig, kinematics: Kinematics, points: np.ndarray) -> np.ndarray:
    """Whether the tip gets to each point upright and within limits. (n, 3) -> (n,) bool."""
    q = solve_position(kinematics, points, arm.rotation, arm.home)
    position, rotation = kinematics.forward(q)
    near = np.linalg.norm(position - points, axis=-1) < REACH_TOLERANCE
    upright = np.array([_angle(arm.rotation, r) < TILT_TOLERANCE for r in rotation])
    within = ((q >= arm.joint_lower) & (q <= arm.joint_upper)).all(axis=-1)
    return near & upright & within


def check_keep_out(arm: ArmConfig, kinematics: Kinematics) -> list[Finding]:
    """Boxes that leave no room: over the tip at home, or over the whole workspace."""
    findings = []
    tip, _ = kinematics.forward(arm.home)
    for name, box in arm.keep_out.items():
        subject = f"keep-out {name}"
        if (box.lower <= arm.workspace_lower).all() and (box.upper >= arm.workspace_upper).all():
            findings.append(fault(subject, "covers the whole workspace", "make the box smaller"))
        elif ((tip >= box.lower) & (tip <= box.upper)).all():
            findings.append(fault(subject, "covers the tip at home", "move home or the box"))
        else:
            findings.append(ok(subject, f"{_point(box.lower)} to {_point(box.upper)}"))
    return findings


def check_commander(arm: ArmConfig) -> Finding:
    """Whether the commander takes the arm, and moves it at home."""
    wanted = np.array([0.0, 0.0, 0.05])
    try:
        commander = Commander(arm)
        q = arm.home[None]
        for _ in range(20):
            velocity, _ = commander.step(q, np.append(wanted, arm.max_gripper_width)[None])
    except MoeRobotControlError as error:
        return fault("commander", str(error), "mend this entry")
    moved = commander.kinematics.jacobian(arm.home)[:3] @ velocity[0]
    if np.linalg.norm(moved - wanted) > 0.5 * np.linalg.norm(wanted):
        text = "at home the arm does not follow a slow upward velocity"
        return fault("commander", text, "home touches a limit, a box, the table or another link")
    return ok("commander", "the arm follows a slow upward velocity from home")


def check_gripper(arm: ArmConfig) -> Finding:
    """The gripper against the one that the policies were trained with."""
    width = arm.max_gripper_width
    if width > 1.0:
        text = f"'gripper.max_width' is {width:g} m"
        return fault("gripper", text, "is it millimetres? widths are metres")
    if abs(width - MAX_GRIPPER_WIDTH) > 0.25 * MAX_GRIPPER_WIDTH:
        text = f"opens {width:g} m; the policies were trained with {MAX_GRIPPER_WIDTH:g} m"
        return warning("gripper", text, "expect worse grasps, or train with this gripper")
    return ok("gripper", f"opens {width:g} m; joint {arm.gripper_joint!r}")


def check_topics(arm: ArmConfig) -> Finding:
    """Topic names: well formed, relative, and none for two things."""
    for role, topic in arm.topics.items():
        if not _TOPIC.fullmatch(topic):
            text = f"{topic!r} of {role!r} is not a topic's name"
            return fault("topics", text, "letters, digits, _ and /, no part begins with a digit")
    twice = [topic for topic, count in Counter(arm.topics.values()).items() if count > 1]
    if twice:
        roles = [role for role, topic in arm.topics.items() if topic == twice[0]]
        text = f"{twice[0]!r} stands for {' and '.join(roles)}"
        return fault("topics", text, "give each its own")
    absolute = [topic for topic in arm.topics.values() if topic.startswith("/")]
    if absolute:
        text = f"{absolute[0]!r} is absolute: a namespace does not reach it"
        return warning("topics", text, "leave out the leading / where two arms are to run")
    return ok("topics", f"output {arm.output!r} to {arm.topics[arm.output]!r}")


def _touching(arm: ArmConfig) -> str:
    model = mujoco.MjModel.from_xml_path(str(arm.kinematics))
    data = mujoco.MjData(model)
    for name, angle in zip(arm.joint_names, arm.home, strict=True):
        data.joint(name).qpos = angle
    mujoco.mj_forward(model, data)
    for contact in data.contact:
        first, second = (model.geom(int(geom)).bodyid[0] for geom in contact.geom)
        return f"{model.body(first).name!r} touches {model.body(second).name!r}"
    return ""


def _angle(wanted: np.ndarray, rotation: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(wanted.T @ rotation) - 1) / 2, -1.0, 1.0)))


def _point(position: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in position) + ")"
