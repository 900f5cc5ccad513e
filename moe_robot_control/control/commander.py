"""The velocity commander's core: end-effector velocity to joint velocity, within all limits."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.differential_ik import joint_velocities
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, CONTROL_PERIOD

JOINT_LIMIT_GAIN = 8.0
"""A joint's speed towards its limit is at most this times the distance left [1/s]."""
WORKSPACE_GAIN = 8.0
"""The same for the walls of the workspace [1/s]."""
GRIPPER_CLOSE_BELOW = 0.03
GRIPPER_OPEN_ABOVE = 0.05
"""Hysteresis of the gripper [m]: a wanted opening in between keeps the present state."""


class Commander:
    """Turns end-effector velocities into joint velocities by damped least squares.

    The tip's orientation is held. Output respects joint position, velocity and acceleration
    limits and the workspace box, and is finite for any input: a row with a value that is not
    finite is treated as a wish to stand still. The environments step it with a batch of
    simulations, the node with a batch of one: the same code.
    """

    def __init__(self, config: ArmConfig, batch_size: int = 1) -> None:
        self.config = config
        self.kinematics = Kinematics(config.kinematics, config.joint_names, config.tip_site)
        self._batch_size = batch_size
        self._velocity = np.zeros((batch_size, self.kinematics.num_joints))
        self._gripper_open = np.ones(batch_size, dtype=bool)

    def reset(self, ids: np.ndarray | None = None, gripper_open: np.ndarray | bool = True) -> None:
        """Forget the last command of simulations `ids` (all by default)."""
        rows = slice(None) if ids is None else ids
        self._velocity[rows] = 0.0
        self._gripper_open[rows] = gripper_open

    def step(
        self, joint_positions: np.ndarray, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One control tick of `CONTROL_PERIOD`.

        Args:
            joint_positions: measured [rad]. Shape (n, joints).
            action: end-effector velocity, base frame [m/s], and gripper opening [m].
                Shape (n, 4).

        Returns:
            Joint velocities [rad/s], shape (n, joints), and gripper opening [m], shape (n,).

        Raises:
            ValueError: wrong shapes.
        """
        q = self._check(joint_positions, self.kinematics.num_joints, "joint_positions")
        action = self._check(action, 4, "action")
        usable = np.isfinite(action).all(axis=-1) & np.isfinite(q).all(axis=-1)
        q = np.where(np.isfinite(q), q, self.config.home)
        action = np.clip(
            np.where(usable[:, None], action, [0.0, 0.0, 0.0, np.nan]), ACTION_LOW, ACTION_HIGH
        )
        velocity = np.where(usable[:, None], self._solve(q, action[:, :3]), 0.0)
        self._gripper_open |= action[:, 3] > GRIPPER_OPEN_ABOVE
        self._gripper_open &= ~(action[:, 3] < GRIPPER_CLOSE_BELOW)
        width = np.where(self._gripper_open, self.config.max_gripper_width, 0.0)
        return self._limit(q, velocity), width

    def stop(self, joint_positions: np.ndarray) -> np.ndarray:
        """Joint velocities [rad/s], (n, joints): ramp to zero at the acceleration limit."""
        q = self._check(joint_positions, self.kinematics.num_joints, "joint_positions")
        q = np.where(np.isfinite(q), q, self.config.home)
        return self._limit(q, np.zeros_like(self._velocity))

    def _check(self, value: np.ndarray, size: int, name: str) -> np.ndarray:
        value = np.asarray(value, dtype=np.float64)
        if value.shape != (self._batch_size, size):
            raise ValueError(f"{name} has shape {value.shape}, not {(self._batch_size, size)}")
        return value

    def _solve(self, q: np.ndarray, linear: np.ndarray) -> np.ndarray:
        config = self.config
        position, _ = self.kinematics.forward(q)
        linear = np.clip(
            linear,
            WORKSPACE_GAIN * (config.workspace_lower - position),
            WORKSPACE_GAIN * (config.workspace_upper - position),
        )
        return joint_velocities(self.kinematics, q, linear, config.rotation, config.home)

    def _limit(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        config = self.config
        # one scale for all joints keeps the direction of the motion
        excess = np.max(np.abs(velocity) / config.joint_velocity, axis=-1, keepdims=True)
        velocity = self._brake(q, velocity / np.maximum(excess, 1.0))
        # as does one scale for all changes: a slow joint would else bend the tip's path
        change = config.joint_acceleration * CONTROL_PERIOD
        wanted = velocity - self._velocity
        excess = np.max(np.abs(wanted) / change, axis=-1, keepdims=True)
        velocity = self._brake(q, self._velocity + wanted / np.maximum(excess, 1.0))
        velocity = np.clip(velocity, self._velocity - change, self._velocity + change)
        self._velocity = velocity
        return velocity.copy()

    def _brake(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Slow joints down before their limits, each by itself."""
        config = self.config
        return np.clip(
            velocity,
            np.minimum(JOINT_LIMIT_GAIN * (config.joint_lower - q), 0.0),
            np.maximum(JOINT_LIMIT_GAIN * (config.joint_upper - q), 0.0),
        )
