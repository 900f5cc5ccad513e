"""The arm's description: kinematics, limits, workspace, cameras and topic names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.share import share_path

OUTPUTS: tuple[str, ...] = ("joint_velocity", "servo_twist", "joint_trajectory")
"""What an arm's driver can be sent: joint velocities for ros2_control's forward controller, the
tip's twist for MoveIt Servo, or a stream of one-point joint trajectories."""

TOPICS: Mapping[str, str] = {
    "joint_states": "joint_states",
    "joint_velocity": "joint_velocity_controller/commands",
    "gripper": "gripper_controller/commands",
    "servo_twist": "servo_node/delta_twist_cmds",
    "joint_trajectory": "joint_trajectory_controller/joint_trajectory",
    "emergency_stop": "emergency_stop",
}
"""Topic names by role, where an arm's file gives no other."""


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
class Box:
    """An axis-aligned box in the arm's base frame.

    Attributes:
        lower, upper: corners [m]. Shape (3,).
    """

    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class CollisionConfig:
    """What the arm's links must keep away from, beside the keep-out boxes.

    Attributes:
        margin: least distance between two links [m].
        table: height of a table that no part of the arm goes below, base frame [m]; None: none.
        ignore: pairs of bodies of the MJCF that are never checked against each other; neither
            are neighbours in the chain and pairs that the MJCF itself excludes.
    """

    margin: float
    table: float | None = None
    ignore: tuple[tuple[str, str], ...] = ()


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
        joint_velocity, joint_acceleration, joint_jerk: limits [rad/s], [rad/s^2], [rad/s^3].
            Shape (n,).
        home: joint positions at rest, also the preferred posture [rad]. Shape (n,).
        gripper_joint: the gripper's name in `joint_states`.
        gripper_positions: that joint's positions at opening 0 and at `max_gripper_width`; None:
            its position is the opening [m].
        min_gripper_width, max_gripper_width: smallest and largest opening [m].
        orientation: held orientation of the tip, unit quaternion w, x, y, z. Shape (4,).
        workspace_lower, workspace_upper: box for the tip, base frame [m]. Shape (3,).
        cameras: the fixed cameras by name.
        output: one of `OUTPUTS`.
        topics: topic names by role; those of `TOPICS` where the file names no other.
        keep_out: boxes by name that no part of the arm enters.
        collision: what links keep away from; None: nothing is checked.
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
    joint_jerk: np.ndarray
    home: np.ndarray
    gripper_joint: str
    min_gripper_width: float
    max_gripper_width: float
    orientation: np.ndarray
    workspace_lower: np.ndarray
    workspace_upper: np.ndarray
    cameras: dict[str, CameraMount]
    output: str
    topics: dict[str, str]
    keep_out: dict[str, Box] = field(default_factory=dict)
    collision: CollisionConfig | None = None
    gripper_positions: tuple[float, float] | None = None

    def gripper_opening(self, position: float) -> float:
        """The opening [m] at a position of the gripper's joint, linear between the ends."""
        if self.gripper_positions is None:
            return position
        closed, opened = self.gripper_positions
        return (position - closed) / (opened - closed) * self.max_gripper_width

    def gripper_position(self, opening: float) -> float:
        """The position of the gripper's joint at an opening [m]; inverts `gripper_opening`."""
        if self.gripper_positions is None:
            return opening
        closed, opened = self.gripper_positions
        return closed + opening / self.max_gripper_width * (opened - closed)

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
        entries = _Entries(tree, path)
        names = entries.names("joints", "names")
        size = len(names)
        lower, upper = (
            entries.vector(size, "joints", "lower"),
            entries.vector(size, "joints", "upper"),
        )
        if not (lower < upper).all():
            joint = names[int(np.argmin(upper - lower))]
            raise ArmConfigError(f"{path}: joint {joint!r} has a lower limit above its upper one")
        home = entries.vector(size, "joints", "home")
        if not ((lower <= home) & (home <= upper)).all():
            joint = names[int(np.argmax(np.maximum(lower - home, home - upper)))]
            raise ArmConfigError(f"{path}: 'joints.home' is outside the limits of joint {joint!r}")
        gripper = (
            entries.number("gripper", "min_width", default=0.0),
            entries.number("gripper", "max_width"),
        )
        if not 0 <= gripper[0] < gripper[1]:
            raise ArmConfigError(
                f"{path}: 'gripper.min_width' is negative or not below 'gripper.max_width'"
            )
        positions = None
        if entries.has("gripper", "closed") or entries.has("gripper", "open"):
            positions = entries.number("gripper", "closed"), entries.number("gripper", "open")
            if positions[0] == positions[1]:
                raise ArmConfigError(f"{path}: 'gripper.closed' and 'gripper.open' are equal")
        output = entries.text("output", default="joint_velocity")
        if output not in OUTPUTS:
            expected = ", ".join(OUTPUTS)
            raise ArmConfigError(
                f"{path}: entry 'output' is {output!r}: expected one of {expected}"
            )
        workspace = entries.box("workspace")
        return cls(
            name=path.stem,
            kinematics=share_path(entries.text("kinematics")),
            base_frame=entries.text("base_frame"),
            tip_site=entries.text("tip_site"),
            joint_names=names,
            joint_lower=lower,
            joint_upper=upper,
            joint_velocity=entries.positive(size, "joints", "velocity"),
            joint_acceleration=entries.positive(size, "joints", "acceleration"),
            joint_jerk=entries.positive(size, "joints", "jerk"),
            home=home,
            gripper_joint=entries.text("gripper", "joint"),
            min_gripper_width=gripper[0],
            max_gripper_width=gripper[1],
            orientation=entries.quaternion("orientation"),
            workspace_lower=workspace.lower,
            workspace_upper=workspace.upper,
            cameras={
                name: CameraMount(
                    entries.vector(3, "cameras", name, "position"),
                    entries.quaternion("cameras", name, "orientation"),
                )
                for name in entries.mapping("cameras")
            },
            output=output,
            topics={**TOPICS, **entries.topics()},
            keep_out={name: entries.box("keep_out", name) for name in entries.mapping("keep_out")},
            collision=entries.collision(),
            gripper_positions=positions,
        )


class _Entries:
    """Checked access to the entries of an arm's file; every complaint names file and entry."""

    def __init__(self, tree: Any, path: Path) -> None:
        self._tree = tree
        self._path = path

    def _error(self, keys: tuple[str, ...], fault: str) -> ArmConfigError:
        return ArmConfigError(f"{self._path}: entry {'.'.join(keys)!r} {fault}")

    def has(self, *keys: str) -> bool:
        """Whether there is such an entry."""
        node = self._tree
        for key in keys:
            if not isinstance(node, dict) or node.get(key) is None:
                return False
            node = node[key]
        return True

    def _get(self, *keys: str) -> Any:
        if not self.has(*keys):
            raise self._error(keys, "is missing")
        node = self._tree
        for key in keys:
            node = node[key]
        return node

    def text(self, *keys: str, default: str | None = None) -> str:
        if default is not None and not self.has(*keys):
            return default
        value = self._get(*keys)
        if not isinstance(value, str) or not value:
            raise self._error(keys, "must be text")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        if default is not None and not self.has(*keys):
            return default
        value = self._get(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self._error(keys, "must be a number")
        return float(value)

    def mapping(self, *keys: str) -> dict[str, Any]:
        """A mapping; empty where the entry is absent."""
        value = self._get(*keys) if self.has(*keys) else {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self._error(keys, "must map names to values")
        return value

    def names(self, *keys: str) -> tuple[str, ...]:
        value = self._get(*keys)
        if not isinstance(value, list) or not value or not all(isinstance(x, str) for x in value):
            raise self._error(keys, "must be a list of names")
        if len(set(value)) < len(value):
            raise self._error(keys, "names something twice")
        return tuple(value)

    def vector(self, size: int, *keys: str) -> np.ndarray:
        try:
            array = np.array(self._get(*keys), dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (size,) or not np.isfinite(array).all():
            raise self._error(keys, f"must be {size} numbers")
        array.flags.writeable = False
        return array

    def positive(self, size: int, *keys: str) -> np.ndarray:
        array = self.vector(size, *keys)
        if not (array > 0).all():
            raise self._error(keys, "must be above zero")
        return array

    def quaternion(self, *keys: str) -> np.ndarray:
        value = self.vector(4, *keys)
        norm = float(np.linalg.norm(value))
        if abs(norm - 1.0) > 1e-3:
            raise self._error(keys, "is not a unit quaternion")
        return value / norm

    def box(self, *keys: str) -> Box:
        box = Box(self.vector(3, *keys, "lower"), self.vector(3, *keys, "upper"))
        if not (box.lower < box.upper).all():
            name = ".".join(keys)
            raise ArmConfigError(f"{self._path}: '{name}.lower' is not below '{name}.upper'")
        return box

    def topics(self) -> dict[str, str]:
        given = self.mapping("topics")
        for role in given:
            if role not in TOPICS:
                expected = ", ".join(TOPICS)
                raise self._error(("topics", role), f"is unknown: expected one of {expected}")
        return {role: self.text("topics", role) for role in given}

    def collision(self) -> CollisionConfig | None:
        if not self.has("collision"):
            return None
        margin = self.number("collision", "margin")
        if margin < 0:
            raise self._error(("collision", "margin"), "is negative")
        table = self.number("collision", "table") if self.has("collision", "table") else None
        pairs = self._get("collision", "ignore") if self.has("collision", "ignore") else []
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)
            for pair in pairs
        ):
            raise self._error(("collision", "ignore"), "must be a list of pairs of bodies")
        return CollisionConfig(margin, table, tuple((first, second) for first, second in pairs))
