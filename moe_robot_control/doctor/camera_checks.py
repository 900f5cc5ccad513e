"""Whether a camera, as configured, sees the workspace."""

from __future__ import annotations

import itertools

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig, CameraMount
from moe_robot_control.doctor.findings import Finding, fault, ok, warning
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics

TRAINED_HALF_ANGLE = np.deg2rad(23.0)
"""From the optical axis to the image's edge, in the images of the training [rad]: whatever the
lens, the workspace belongs into the middle."""
LARGEST_ROLL = np.deg2rad(30.0)
"""The pose network was trained with cameras that stand upright [rad]."""
FARTHEST = 3.0
"""From further away the objects are too few pixels [m]."""
NARROWEST_BASELINE = np.deg2rad(20.0)
"""Views that differ less hardly tell depth [rad]."""
ORDER = "the order is w, x, y, z; of the optical frame: z forward, x right, y down"


def check_cameras(arm: ArmConfig) -> list[Finding]:
    """Where the arm's cameras look, without knowing their lenses."""
    if not arm.cameras:
        return [fault("cameras", "none is configured", "perception needs one at least")]
    findings = [_check_mount(name, mount, arm) for name, mount in arm.cameras.items()]
    centre = _centre(arm)
    for (one, first), (other, second) in itertools.combinations(arm.cameras.items(), 2):
        angle = _angle(centre - first.position, centre - second.position)
        if angle < NARROWEST_BASELINE:
            text = f"{one} and {other} look from directions only {np.rad2deg(angle):.0f} deg apart"
            findings.append(warning("cameras", text, "they tell little depth: move them apart"))
    return findings


def check_image(name: str, arm: ArmConfig, intrinsics: CameraIntrinsics) -> Finding:
    """Whether the workspace's centre is in the image of a camera with these intrinsics."""
    mount = arm.cameras[name]
    extrinsics = CameraExtrinsics.from_quaternion(mount.position, mount.orientation)
    u, v = Camera(intrinsics, extrinsics).project(_centre(arm))
    inside = 0 <= u < intrinsics.width and 0 <= v < intrinsics.height
    if not inside:
        where = "behind it" if np.isnan(u) else f"at pixel ({u:.0f}, {v:.0f})"
        text = (
            f"the workspace's centre is {where}, outside the image of "
            f"{intrinsics.width} x {intrinsics.height}"
        )
        return fault(f"camera {name}", text, f"check its extrinsics: {ORDER}")
    text = f"the workspace's centre is at pixel ({u:.0f}, {v:.0f})"
    return ok(f"camera {name}", f"{text} of {intrinsics.width} x {intrinsics.height}")


def _check_mount(name: str, mount: CameraMount, arm: ArmConfig) -> Finding:
    subject = f"camera {name}"
    rotation = CameraExtrinsics.from_quaternion(mount.position, mount.orientation).rotation
    towards = _centre(arm) - mount.position
    distance = float(np.linalg.norm(towards))
    angle = _angle(rotation[:, 2], towards)
    degrees = f"{np.rad2deg(angle):.0f} degrees"
    if angle > np.pi / 2:
        text = f"looks away: the workspace is behind it, {degrees} off its axis"
        return fault(subject, text, ORDER)
    if angle > TRAINED_HALF_ANGLE:
        text = f"looks past the workspace, whose centre is {degrees} off its axis"
        return fault(subject, text, ORDER)
    roll = _roll(rotation)
    if abs(roll) > LARGEST_ROLL:
        text = f"is turned about its axis: up is {np.rad2deg(abs(roll)):.0f} degrees off"
        return fault(subject, text, f"the pose network knows upright images; {ORDER}")
    if distance > FARTHEST:
        text = f"is {distance:.1f} m away from the workspace"
        return warning(subject, text, "extrinsics are metres; or move it nearer")
    return ok(subject, f"{distance:.2f} m away, workspace {degrees} off its axis")


def _roll(rotation: np.ndarray) -> float:
    """Angle between up in the image and up [rad]; 0 for a camera that looks straight down."""
    right, down = rotation[2, 0], rotation[2, 1]
    return float(np.arctan2(right, -down)) if np.hypot(right, down) > 0.3 else 0.0


def _centre(arm: ArmConfig) -> np.ndarray:
    return (arm.workspace_lower + arm.workspace_upper) / 2


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))
