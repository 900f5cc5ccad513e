"""Where the joints are now, as measurements come late."""

from __future__ import annotations

import collections

import numpy as np

from moe_robot_control.policies.spaces import CONTROL_PERIOD

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
        self._velocities: collections.deque[np.ndarray] = collections.deque(
            maxlen=round(LONGEST / CONTROL_PERIOD)
        )

    def commanded(self, velocities: np.ndarray) -> None:
        """Take the joint velocities [rad/s] of one tick. Shape (joints,)."""
        self._velocities.appendleft(velocities)

    def now(self, joint_positions: np.ndarray, age: float) -> np.ndarray:
        """Joint positions [rad] by a measurement that is `age` [s] old. Shapes (joints,)."""
        ticks = (max(age, 0.0) + self._latency) / CONTROL_PERIOD
        shares = np.clip(ticks - np.arange(len(self._velocities)), 0.0, 1.0)
        if not shares.any():
            return joint_positions
        return joint_positions + CONTROL_PERIOD * (shares @ np.array(self._velocities))
