"""The arm's description: kinematics, limits, workspace, cameras and topic names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.share import share_path


class ArmConfigError(MoeRobotControlError):
    """An arm's configuration is missing, malformed or inconsistent."""


@dataclass(frozen=True)
class CameraMount:
    """Where a fixed camera is: its optical frame in the arm's base frame.

    Attributes:
        position: [m]. Shape (3,).
        orientation: unit quaternion w, x, y, z of the optical frame (z forward, x right,
            y down; REP-103). Shape (4,).
    """

    position: np.ndarray
    orientation: np.ndarray


@dataclass(frozen=True)
class ArmConfig:
    """One arm, as read from `config/arms/<name>.yaml`.

    Attributes:
        name: the arm's name.
        kinematics: path of the MJCF file with the arm's kinematic chain.
        base_frame: frame of all poses and velocities.
        tip_site: site of the MJCF that the velocities move.
        joint_names: names in `joint_states`, base to tip.
        joint_lower, joint_upper: position limits [rad]. Shape (n,).
        joint_velocity, joint_acceleration: limits [rad/s], [rad/s^2]. Shape (n,).
        home: joint positions at rest, also the preferred posture [rad]. Shape (n,).
        gripper_joint: the gripper's name in `joint_states`; its position is the opening [m].
        max_gripper_width: largest opening [m].
        orientation: held orientation of the tip, unit quaternion w, x, y, z. Shape (4,).
        workspace_lower, workspace_upper: box for the tip, base frame [m]. Shape (3,).
        cameras: the fixed cameras by name.
        topics: topic names by role (joint_states, joint_velocity, gripper).
    """

    name: str
    kinematics: Path
    base_frame: str
    tip_site: str
    joint_names: tuple[str, ...]
    joint_lower: np.ndarray
    joint_upper: np.ndarray
    joint_velocity: np.ndarray
    joint_acceleration: np.ndarray
    home: np.ndarray
    gripper_joint: str
    max_gripper_width: float
    orientation: np.ndarray
    workspace_lower: np.ndarray
    workspace_upper: np.ndarray
    cameras: dict[str, CameraMount]
    topics: dict[str, str]

    @property
    def rotation(self) -> np.ndarray:
        """The held orientation as a rotation matrix. Shape (3, 3)."""
        w, x, y, z = self.orientation
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    @classmethod
    def load(cls, name_or_path: str | Path = "panda") -> ArmConfig:
        """Read an arm by the name of a file in `config/arms`, or by a path.

        Raises:
            ArmConfigError: the file is missing or not YAML, or an entry is missing or has
                the wrong size; the message names file and entry.
        """
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            folder = share_path("config/arms")
            path = folder / f"{name_or_path}.yaml"
            if not path.is_file():
                known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
                raise ArmConfigError(f"unknown arm {str(name_or_path)!r}: expected one of {known}")
        try:
            tree = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ArmConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
            raise ArmConfigError(f"{path}: malformed YAML at line {line}") from error
        return cls._from_tree(tree, path)

    @classmethod
    def _from_tree(cls, tree: Any, path: Path) -> ArmConfig:
        def get(*keys: str) -> Any:
            node = tree
            for key in keys:
                if not isinstance(node, dict) or key not in node:
                    raise ArmConfigError(f"{path}: entry {'.'.join(keys)!r} is missing")
                node = node[key]
            return node

        def vector(size: int, *keys: str) -> np.ndarray:
            try:
                array = np.array(get(*keys), dtype=np.float64)
            except (TypeError, ValueError):
                array = np.empty(0)
            if array.shape != (size,) or not np.isfinite(array).all():
                raise ArmConfigError(f"{path}: entry {'.'.join(keys)!r} must be {size} numbers")
            array.flags.writeable = False
            return array

        def quaternion(*keys: str) -> np.ndarray:
            value = vector(4, *keys)
            norm = float(np.linalg.norm(value))
            if abs(norm - 1.0) > 1e-3:
                raise ArmConfigError(f"{path}: entry {'.'.join(keys)!r} is not a unit quaternion")
            return value / norm

        names = tuple(str(name) for name in get("joints", "names"))
        size = len(names)
        lower, upper = vector(size, "joints", "lower"), vector(size, "joints", "upper")
        if not (lower < upper).all():
            joint = names[int(np.argmin(upper - lower))]
            raise ArmConfigError(f"{path}: joint {joint!r} has a lower limit above its upper one")
        workspace = vector(3, "workspace", "lower"), vector(3, "workspace", "upper")
        if not (workspace[0] < workspace[1]).all():
            raise ArmConfigError(f"{path}: 'workspace.lower' is not below 'workspace.upper'")
        return cls(
            name=path.stem,
            kinematics=share_path(get("kinematics")),
            base_frame=str(get("base_frame")),
            tip_site=str(get("tip_site")),
            joint_names=names,
            joint_lower=lower,
            joint_upper=upper,
            joint_velocity=vector(size, "joints", "velocity"),
            joint_acceleration=vector(size, "joints", "acceleration"),
            home=vector(size, "joints", "home"),
            gripper_joint=str(get("gripper", "joint")),
            max_gripper_width=float(get("gripper", "max_width")),
            orientation=quaternion("orientation"),
            workspace_lower=workspace[0],
            workspace_upper=workspace[1],
            cameras={
                name: CameraMount(
                    vector(3, "cameras", name, "position"),
                    quaternion("cameras", name, "orientation"),
                )
                for name in get("cameras")
            },
            topics={str(role): str(topic) for role, topic in get("topics").items()},
        )
