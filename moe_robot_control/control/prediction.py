"""Where the joints are now, as measurements come late."""

from __future__ import annotations

import collections

import numpy as np

LONGEST = 0.5
"""Commands are remembered for so long [s]."""


class Prediction:
    """Adds to a measurement the motion that was commanded and cannot be seen in it yet.

    An arm that is nearer to a wall than it was when measured would else be slowed down too late.
    """

    def __init__(self, latency: float = 0.0) -> None:
        """Begin with an arm at rest.

        Args:
            latency: from a command to the measurement that shows its motion, beside the age of
                the measurement: lag of the drives, and of the messages to them [s].
        """
        self._latency = latency
        self.reset()

    def reset(self) -> None:
        """Forget the commands, as it is not known what became of them."""
        self._commands: collections.deque[tuple[float, np.ndarray]] = collections.deque()

    def commanded(self, time: float, velocities: np.ndarray) -> None:
        """Take joint velocities [rad/s], shape (joints,), commanded at `time` [s]."""
        if self._commands and time < self._commands[-1][0]:
            self.reset()  # a clock was set back
        self._commands.append((time, velocities))
        while time - self._commands[0][0] > LONGEST:
            self._commands.popleft()

    def now(self, time: float, joint_positions: np.ndarray, age: float) -> np.ndarray:
        """Joint positions [rad] at `time` [s] by a measurement `age` [s] old. Shapes (joints,).

        Each command counts from when it was given to the next, however late that was.
        """
        if not self._commands:
            return joint_positions
        begins = np.array([begin for begin, _ in self._commands])
        seen = time - max(age, 0.0) - self._latency
        edges = np.clip(np.append(begins, time), seen, max(time, seen))
        durations = np.maximum(np.diff(edges), 0.0)
        if not durations.any():
            return joint_positions
        return joint_positions + durations @ np.array([v for _, v in self._commands])
