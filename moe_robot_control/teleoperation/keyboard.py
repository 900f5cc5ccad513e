"""A terminal's keyboard, also over ssh: keys to what the operator wants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moe_robot_control.teleoperation.controls import (
    DIRECTIONS,
    MOTION,
    REQUESTS,
    Controls,
    OperatorCommand,
)

HOLD = 0.15
"""So long a key counts as held; a terminal that is told of no releases repeats it [s]."""
GATE_HOLD = 0.6
"""The same for keys of experts: as long as until a terminal begins to repeat [s]."""
KEEP = "keep"
"""Action of a key that keeps the present experts while it is held."""

_SEQUENCES = {
    "\x1b[A": "arrow_up",
    "\x1b[B": "arrow_down",
    "\x1b[C": "arrow_right",
    "\x1b[D": "arrow_left",
    "\x1bOA": "arrow_up",
    "\x1bOB": "arrow_down",
    "\x1bOC": "arrow_right",
    "\x1bOD": "arrow_left",
    "\x1b[5~": "page_up",
    "\x1b[6~": "page_down",
}
_NAMES = {"\x1b": "escape", " ": "space", "\r": "enter", "\n": "enter", "\t": "tab"}
_NAMES |= {"\x7f": "backspace", "\x08": "backspace"}


class Keyboard:
    """Follows the keys; the deadman is the key itself: what is let go stops the arm.

    Times are in seconds of one clock.
    """

    def __init__(self, keys: Mapping[str, str], controls: Controls, hold: float = HOLD) -> None:
        """Begin without a key.

        Args:
            keys: action or direction by key, as of `load_keys`.
            controls: that keys set.
            hold: so long a direction's key counts as held [s].
        """
        self.controls = controls
        self._keys, self._hold = keys, hold
        self._until: dict[str, float] = {}
        self._gates_until = -np.inf

    def press(self, now: float, key: str) -> str | None:
        """Take a key, by its name as `KeyDecoder` gives it.

        A key without a meaning lets go of everything: whoever strikes wildly wants to stop.

        Returns:
            What is asked of other nodes, out of `REQUESTS`, if anything.
        """
        action = self._keys.get(key)
        if action is None or action in REQUESTS:
            self.release()
            return action
        if action in DIRECTIONS:
            self._until[action] = now + self._hold
        elif action == KEEP:
            self._gates_until = now + GATE_HOLD
        else:
            self.controls.apply(action)
            if action.startswith("expert_") or action in ("next_expert", "previous_expert"):
                self._gates_until = now + GATE_HOLD
            elif action.endswith("_gripper"):
                # a command without motion, so that the gripper gets it
                self._until[action] = now + self._hold
        return None

    def release(self) -> None:
        """Let go of everything."""
        self._until.clear()
        self._gates_until = -np.inf

    def command(self, now: float) -> OperatorCommand | None:
        """What the operator wants; None unless a key counts as held."""
        held = [action for action, until in self._until.items() if now < until]
        if not (held if self.controls.demonstrated == MOTION else now < self._gates_until):
            return None
        directions = [DIRECTIONS[action] for action in held if action in DIRECTIONS]
        return self.controls.command(np.sum([np.zeros(3), *directions], axis=0))


def decode_keys(text: str) -> list[str]:
    """Names of the keys in what a terminal sent, one by one."""
    found: list[str] = []
    while text:
        sequence = next((s for s in _SEQUENCES if text.startswith(s)), None)
        if sequence is not None:
            found.append(_SEQUENCES[sequence])
            text = text[len(sequence) :]
        elif text[0] == "\x1b" and text[1:2] in ("[", "O"):
            # a sequence of a key that we do not know ends with a letter or a tilde
            end = next((i for i, c in enumerate(text[2:], 2) if c.isalpha() or c == "~"), None)
            found.append("unknown")
            text = "" if end is None else text[end + 1 :]
        else:
            found.append(_NAMES.get(text[0], text[0]))
            text = text[1:]
    return found
