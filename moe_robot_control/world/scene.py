"""The bench as one MuJoCo model, put together from the parts under `models/world`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mujoco
import numpy as np
import yaml

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.share import share_path

FURNITURE: tuple[str, ...] = ("cabinet", "box", "chest", "tray", "rack", "button", "bin")
"""Parts that stand on the bench; each reset places them anew."""
LOOSE: tuple[str, ...] = ("lid", "vial")
"""Parts that move freely."""
ALL_PARTS: tuple[str, ...] = FURNITURE + LOOSE

SKILL_PARTS: dict[str, tuple[str, ...]] = {
    "rotate_door": ("cabinet",),
    "unbox": ("box", "lid", "vial"),
    "pick_and_place": ("box", "tray", "vial"),
    "pull_drawer": ("chest",),
    "pick_and_insert": ("tray", "rack", "vial"),
    "push_button": ("button",),
    "pick_and_drop": ("rack", "bin", "vial"),
}
"""The parts of each one-skill scene."""

OBJECT_PARTS: dict[str, str] = {
    "door_handle": "cabinet",
    "cabinet": "cabinet",
    "lid": "lid",
    "box": "box",
    "vial": "vial",
    "tray": "tray",
    "drawer_handle": "chest",
    "chest": "chest",
    "rack": "rack",
    "button": "button",
    "bin": "bin",
}
"""The part that holds the site of each object."""

FIELD_OF_VIEW = 46.0
"""Vertical field of view of a camera that only the arm's configuration knows [degrees]."""

# the optical frame (z forward, y down) seen from MuJoCo's camera frame (z backward, y up)
_FLIP = np.array([0.0, 1.0, 0.0, 0.0])


class SceneError(MoeRobotControlError):
    """An arm that cannot be simulated."""


@dataclass(frozen=True)
class Placement:
    """Where a part stands: nominal x [m], y [m], yaw [rad], and half ranges. Shapes (3,)."""

    pose: np.ndarray
    half_range: np.ndarray


def load_placements() -> dict[str, Placement]:
    """The furniture's placements from `config/tasks/bench.yaml`."""
    tree = yaml.safe_load(share_path("config/tasks/bench.yaml").read_text())
    return {
        part: Placement(np.array(tree[part]["pose"]), np.array(tree[part]["range"]))
        for part in FURNITURE
    }


def build_model(parts: Iterable[str] = ALL_PARTS, arm: ArmConfig | None = None) -> mujoco.MjModel:
    """Compile `build_spec`'s bench."""
    return build_spec(parts, arm).compile()


def build_spec(parts: Iterable[str] = ALL_PARTS, arm: ArmConfig | None = None) -> mujoco.MjSpec:
    """Put the bench together with an arm, its cameras and some parts.

    Args:
        parts: names out of `ALL_PARTS`.
        arm: the arm (`panda` by default); its base frame is the world frame.

    Returns:
        The editable model; names carry their part as a prefix: `arm/panda_joint1`, `vial/vial`.

    Raises:
        SceneError: the arm's file has no actuators: it tells where the links are, no more.
        ValueError: a name is not a part.
    """
    arm = ArmConfig.load() if arm is None else arm
    parts = tuple(parts)
    unknown = [part for part in parts if part not in ALL_PARTS]
    if unknown:
        raise ValueError(f"unknown part {unknown[0]!r}: expected one of {', '.join(ALL_PARTS)}")
    spec = mujoco.MjSpec.from_file(str(share_path("models/world/bench.xml")))
    arm_spec = mujoco.MjSpec.from_file(str(arm.kinematics))
    actuators = {actuator.name for actuator in arm_spec.actuators}
    for joint in (*arm.joint_names, arm.gripper_joint):
        if joint not in actuators:
            raise SceneError(
                f"arm {arm.name!r} cannot be simulated: {arm.kinematics} has no actuator {joint!r}"
            )
    _attach(spec, arm_spec, "arm")
    placements = load_placements()
    for part in ALL_PARTS:
        if part in parts:
            child = mujoco.MjSpec.from_file(str(share_path(f"models/world/parts/{part}.xml")))
            _attach(spec, child, part)
            if part in placements:
                x, y, _ = placements[part].pose
                spec.body(f"{part}/{part}").pos = [x, y, 0.0]
    for name, mount in arm.cameras.items():
        camera = spec.camera(name)
        if camera is None:
            camera = spec.worldbody.add_camera(name=name, fovy=FIELD_OF_VIEW)
        quaternion = np.empty(4)
        mujoco.mju_mulQuat(quaternion, mount.orientation, _FLIP)
        camera.pos, camera.quat = mount.position, quaternion
    return spec


def object_site(name: str) -> str:
    """Name in the model of the site that marks the object `name`."""
    return f"{OBJECT_PARTS[name]}/{name}"


def _attach(spec: mujoco.MjSpec, child: mujoco.MjSpec, prefix: str) -> None:
    spec.attach(child, frame=spec.worldbody.add_frame(), prefix=f"{prefix}/")
