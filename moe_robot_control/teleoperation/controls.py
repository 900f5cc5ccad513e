"""What an operator has set, whatever he sets it with: speed, gripper, experts and their blend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH, MAX_SPEED, SKILLS

DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "forward": (1.0, 0.0, 0.0),
    "backward": (-1.0, 0.0, 0.0),
    "left": (0.0, 1.0, 0.0),
    "right": (0.0, -1.0, 0.0),
    "up": (0.0, 0.0, 1.0),
    "down": (0.0, 0.0, -1.0),
}
"""Directions of the end effector in the arm's base frame, by the names that mappings use."""
SETTINGS: tuple[str, ...] = (
    "toggle_gripper",
    "open_gripper",
    "close_gripper",
    "faster",
    "slower",
    "toggle_fine",
    "switch",
    "toggle_blend",
    "next_expert",
    "previous_expert",
    *(f"expert_{number}" for number in range(1, len(SKILLS) + 1)),
    "no_expert",
)
"""Actions that concern the operator's own controls; `switch`: from motion to weights or back."""
REQUESTS: tuple[str, ...] = (
    "start",
    "stop",
    "toggle_recording",
    "discard",
    "mark_success",
    "mark_failure",
    "reset",
    "emergency_stop",
    "release",
    "mode_policy",
    "mode_teleop",
    "mode_idle",
)
"""Actions that are asked of other nodes."""
SPEEDS: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the largest speed."""
FINE = 0.2
"""Share of the chosen speed in fine mode."""
MOTION, WEIGHTS = DEMONSTRATED = ("motion", "weights")
"""Both kinds of demonstration: for an expert, or for the manipulation network."""


class TeleoperationError(MoeRobotControlError):
    """A device or a mapping that cannot be used."""


@dataclass(frozen=True)
class OperatorCommand:
    """What the operator wants now, while he holds the deadman.

    Attributes:
        velocity: of the end effector, base frame [m/s], shape (3,); None: he gates experts.
        opening: of the gripper [m].
        weights: of the experts by name, sum 1; None: he moves the arm himself.
    """

    velocity: np.ndarray | None = None
    opening: float = MAX_GRIPPER_WIDTH
    weights: dict[str, float] | None = None


class Controls:
    """Speed, fine mode, gripper, and which experts are active with which shares."""

    def __init__(
        self,
        demonstrated: str = MOTION,
        max_speed: float = MAX_SPEED,
        speed: int = SPEEDS.index(0.6),
        max_opening: float = MAX_GRIPPER_WIDTH,
    ) -> None:
        """Begin with an open gripper and without experts.

        Args:
            demonstrated: one of `DEMONSTRATED`.
            max_speed: along each axis [m/s].
            speed: index in `SPEEDS`.
            max_opening: of the gripper [m].
        """
        if demonstrated not in DEMONSTRATED:
            raise ValueError(f"{demonstrated!r}: expected one of {', '.join(DEMONSTRATED)}")
        self.demonstrated = demonstrated
        self.fine = False
        self.opening = max_opening
        self.blending = False
        self._max_opening = max_opening
        self._max_speed = max_speed
        self._speed = speed
        self._shares: dict[str, int] = {}

    @property
    def speed(self) -> float:
        """Share of the largest speed, 0 to 1."""
        return SPEEDS[self._speed] * (FINE if self.fine else 1.0)

    def velocity(self, direction: np.ndarray) -> np.ndarray:
        """Velocity [m/s] for a direction with components from -1 to 1. Shape (3,)."""
        return np.clip(direction, -1.0, 1.0) * self._max_speed * self.speed

    @property
    def weights(self) -> dict[str, float] | None:
        """Weights of all experts, sum 1; None while none is active."""
        total = sum(self._shares.values())
        if not total:
            return None
        return {skill: self._shares.get(skill, 0) / total for skill in SKILLS}

    def command(self, direction: np.ndarray) -> OperatorCommand | None:
        """What to command while the deadman is held; None: he gates, but no expert."""
        if self.demonstrated == MOTION:
            return OperatorCommand(velocity=self.velocity(direction), opening=self.opening)
        weights = self.weights
        return None if weights is None else OperatorCommand(weights=weights)

    def apply(self, action: str) -> None:
        """Do one of `SETTINGS`.

        An expert that is chosen while blending is added; chosen again, its share grows.
        """
        if action.startswith("expert_"):
            self._choose(SKILLS[int(action.removeprefix("expert_")) - 1])
        elif action in ("next_expert", "previous_expert"):
            last = list(self._shares)[-1] if self._shares else None
            step = 1 if action == "next_expert" else -1
            index = -1 if last is None and step > 0 else 0 if last is None else SKILLS.index(last)
            self._choose(SKILLS[(index + step) % len(SKILLS)])
        elif action == "no_expert":
            self._shares.clear()
        elif action == "toggle_blend":
            self.blending = not self.blending
        elif action == "switch":
            self.demonstrated = WEIGHTS if self.demonstrated == MOTION else MOTION
        elif action == "toggle_fine":
            self.fine = not self.fine
        elif action == "faster":
            self._speed = min(self._speed + 1, len(SPEEDS) - 1)
        elif action == "slower":
            self._speed = max(self._speed - 1, 0)
        elif action == "open_gripper":
            self.opening = self._max_opening
        elif action == "close_gripper":
            self.opening = 0.0
        elif action == "toggle_gripper":
            self.opening = 0.0 if self.opening > 0 else self._max_opening
        else:
            raise ValueError(f"unknown action {action!r}: expected one of {', '.join(SETTINGS)}")

    def _choose(self, skill: str) -> None:
        if not self.blending:
            self._shares.clear()
        # last in the order: the one that the next one follows
        self._shares[skill] = self._shares.pop(skill, 0) + 1

    def describe(self) -> str:
        """In a few words, for the operator."""
        gripper = "open" if self.opening > 0 else "closed"
        fine = ", fine" if self.fine else ""
        if self.demonstrated == MOTION:
            return f"speed {100 * SPEEDS[self._speed]:.0f} %{fine}, gripper {gripper}"
        blend = " blending" if self.blending else ""
        weights = self.weights or {}
        active = [f"{skill} {weight:.2f}" for skill, weight in weights.items() if weight]
        return f"experts{blend}: {', '.join(active) or 'none'}"
