"""A gamepad or a SpaceMouse: axes and buttons to what the operator wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moe_robot_control.teleoperation.controls import (
    REQUESTS,
    Controls,
    OperatorCommand,
    TeleoperationError,
)
from moe_robot_control.teleoperation.mapping import GamepadMapping

DEADLINE = 0.2
"""An operator whose device stays silent for so long has let go [s]; joy_node repeats at 20 Hz."""


class Gamepad:
    """Follows the state of a device; times are in seconds of one clock.

    The deadman counts once it was seen released: a button that is jammed, or held since before
    the device fell silent, moves nothing.
    """

    def __init__(
        self, mapping: GamepadMapping, controls: Controls, deadline: float = DEADLINE
    ) -> None:
        self.controls = controls
        self._mapping, self._deadline = mapping, deadline
        self._direction = np.zeros(3)
        self._on: set[str] = set(mapping.actions)
        self._held = False
        self._armed = False
        self._updated: float | None = None

    def update(self, now: float, axes: Sequence[float], buttons: Sequence[int]) -> list[str]:
        """Take the device's state.

        Returns:
            What is asked of other nodes, out of `REQUESTS`: that of buttons just pressed.

        Raises:
            TeleoperationError: it lacks an axis or a button of the mapping, or a value is not
                finite; the operator counts as gone.
        """
        mapping = self._mapping
        silent = self._updated is None or now - self._updated > self._deadline
        try:
            held = mapping.deadman.is_on(axes, buttons)
            on = {name for name, switch in mapping.actions.items() if switch.is_on(axes, buttons)}
            values = [
                mapping.motion[name].scale * axes[mapping.motion[name].index]
                if name in mapping.motion
                else 0.0
                for name in ("x", "y", "z")
            ]
        except IndexError:
            self._let_go()
            raise TeleoperationError(
                f"the device has {len(axes)} axes and {len(buttons)} buttons: "
                "the mapping needs more: is it that of another device?"
            ) from None
        if not np.isfinite(values).all():
            self._let_go()
            raise TeleoperationError("the device's axes are not finite")
        self._armed = not held or (self._armed and not silent)
        self._held, self._updated = held, now
        self._direction = _without_deadzone(np.array(values), mapping.deadzone)
        if "fine" in mapping.actions:
            self.controls.fine = "fine" in on
        if "blend" in mapping.actions:
            self.controls.blending = "blend" in on
        pressed = [name for name in mapping.actions if name in on and name not in self._on]
        self._on = on
        for name in pressed:
            if name not in REQUESTS and name not in ("fine", "blend"):
                self.controls.apply(name)
        return [name for name in pressed if name in REQUESTS]

    def command(self, now: float) -> OperatorCommand | None:
        """What the operator wants; None unless he holds the deadman of a device that is alive."""
        if not self._held or not self._armed or now - self._updated > self._deadline:
            return None
        return self.controls.command(self._direction)

    def _let_go(self) -> None:
        self._held = self._armed = False
        self._updated = None


def _without_deadzone(values: np.ndarray, deadzone: float) -> np.ndarray:
    """Values from -1 to 1, continuous and zero in the deadzone."""
    beyond = np.maximum(np.abs(values) - deadzone, 0.0) / (1.0 - deadzone)
    return np.sign(values) * np.minimum(beyond, 1.0)
