"""What joint velocities mean to drivers that take other commands."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics

HORIZON = 0.05
"""Time from now to the only point of a joint trajectory [s]: longer than a tick, so that a late
one does not make the arm halt, and short, as the arm goes so far when no more come."""


def tip_twist(
    kinematics: Kinematics, joint_positions: np.ndarray, joint_velocities: np.ndarray
) -> np.ndarray:
    """The tip's linear [m/s] and angular [rad/s] velocity in the base frame. (joints,) -> (6,)."""
    return kinematics.jacobian(joint_positions) @ joint_velocities


class TrajectoryPoint:
    """Where joints shall be `HORIZON` from now.

    At rest this stays one point: the measured position would sag a little with every tick.
    """

    def __init__(self, config: ArmConfig) -> None:
        self._config = config
        self._held: np.ndarray | None = None

    def after(self, joint_positions: np.ndarray, joint_velocities: np.ndarray) -> np.ndarray:
        """Positions [rad] for measured positions [rad] and velocities [rad/s]. Shapes (joints,)."""
        if joint_velocities.any():
            self._held = None
            config = self._config
            return np.clip(
                joint_positions + HORIZON * joint_velocities, config.joint_lower, config.joint_upper
            )
        if self._held is None:
            self._held = joint_positions.copy()
        return self._held
