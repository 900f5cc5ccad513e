"""What the console needs of a robot; `nodes/console.py` is the one over ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from moe_robot_control.errors import MoeRobotControlError


class RobotError(MoeRobotControlError):
    """The robot did not do what it was asked to; the message says why, for the operator."""


@dataclass(frozen=True)
class Frame:
    """A camera's image and what is drawn on it.

    Attributes:
        camera: its name.
        number: higher for every newer image.
        jpeg: the image.
        width, height: of the image [px].
        marks: pixels (u, v) of the objects that are seen, by name.
        tip: pixel of the point between the fingertips, if it is in view.
        axes: pixels where arrows from `tip` along the base frame's axes x, y and z end.
    """

    camera: str
    number: int
    jpeg: bytes
    width: int
    height: int
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tip: tuple[float, float] | None = None
    axes: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """What an operator who holds the deadman wants now.

    Attributes:
        velocity: of the end effector along x, y, z of the base frame [m/s]; None where the
            experts are to move the arm.
        gripper: opening [m]; None leaves it as it is.
        weights: of experts by name, sum 1; empty where the operator moves the arm himself.
    """

    velocity: tuple[float, float, float] | None
    gripper: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


class Robot(Protocol):
    """A robot to watch and to command. All methods are called in the server's event loop."""

    cameras: tuple[str, ...]
    experts: tuple[str, ...]
    max_speed: float
    """Of the end effector [m/s]."""
    max_opening: float
    """Of the gripper [m]."""

    def state(self) -> dict[str, Any]:
        """All that is known now, ready for JSON; docs/console.md lists it."""

    def recordings(self) -> Path:
        """Folder of the recorded episodes."""

    async def frame(self, camera: str, after: int) -> Frame:
        """The newest image with a number above `after`, when there is one."""

    def drive(self, wish: Wish) -> None:
        """Pass on a wish; the arm follows it only for a moment."""

    def let_go(self) -> None:
        """Stop following the last wish at once."""

    async def emergency_stop(self) -> str:
        """Stop until `release`. Returns what the robot says."""

    async def release(self) -> str:
        """End an emergency stop."""

    async def set_mode(self, mode: str) -> str:
        """Say who commands: `policy`, `teleop` or `idle`."""

    async def start_episode(
        self, scenario: int | None, skill: str | None, seed: int, operator: str
    ) -> str:
        """Begin an episode in the simulation; on an arm, let the policies act.

        Neither scenario nor skill: what the simulation did last, or was launched for.
        """

    async def record(self, action: str, details: Mapping[str, str]) -> str:
        """Do one of `commands.RECORD_ACTIONS`; `details` become the episode's metadata."""
