"""The velocity commander's core: end-effector velocity to joint velocity, within all limits."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.differential_ik import resolve_rates
from moe_robot_control.control.guard import Guard
from moe_robot_control.control.kinematics import Frames, Kinematics
from moe_robot_control.control.ramp import Motion, Ramp
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW

JOINT_LIMIT_GAIN = 8.0
"""A joint's speed towards its limit is at most this times the distance left [1/s]."""
WORKSPACE_GAIN = 8.0
"""The same for the walls of the workspace [1/s]."""
GRIPPER_CLOSE_BELOW = 0.03
GRIPPER_OPEN_ABOVE = 0.05
"""Hysteresis of the gripper [m]: a wanted opening in between keeps the present state."""


FARTHEST = 100.0
"""A joint position beyond this is no measurement [rad]."""
MEASURED_EXCESS = 1.2
"""An arm may be measured to be so much faster than was ever commanded."""
_SHARES = (1.0, 0.5, 0.2)
"""Parts of a wish, of which the first that is permitted is done."""


class Commander:
    """Turns end-effector velocities into joint velocities by damped least squares.

    The tip's orientation is held. Output is finite for any input: a row with a value that is
    not finite, or a joint beyond `FARTHEST`, is treated as a wish to stand still. The
    environments step it with a batch of simulations, the node with a batch of one: the same
    code, but that one arm is guarded.

    Where limits contradict each other, this is their order:

    1. Joint velocity, acceleration and jerk: never broken, also on the way to rest, which takes
       `ramp.STOP_TIME` at most.
    2. Joint positions, workspace, keep-out boxes, table, distances between links: never broken by
       a guarded arm that follows its commands, as it goes nowhere from where it could not come
       to rest within the first (`guard.Guard`). If measured positions jump beyond one, the arm
       comes to rest by the first and then moves only so that it gets no worse. A batch is not
       guarded: there joints and tip are slowed down before their limits.
    3. Singularities, the tip's orientation, the posture, and at last the wanted velocity.
    """

    def __init__(self, config: ArmConfig, batch_size: int = 1, guarded: bool | None = None) -> None:
        """Read the arm's kinematics.

        Args:
            config: the arm.
            batch_size: arms n that are stepped together.
            guarded: whether every command is checked; only for a batch of one, where it is so
                by default.

        Raises:
            KinematicsError, ArmConfigError: the arm's MJCF does not fit its file.
            ValueError: guarded, but not a batch of one.
        """
        self.config = config
        self.kinematics = Kinematics(config.kinematics, config.joint_names, config.tip_site)
        self._batch_size = batch_size
        self._ramp = Ramp(config)
        self._motion = self._ramp.still(batch_size)
        self._gripper_open = np.ones(batch_size, dtype=bool)
        guarded = batch_size == 1 if guarded is None else guarded
        if guarded and batch_size != 1:
            raise ValueError(f"only one arm can be guarded, not {batch_size}")
        self._guard = Guard(config, self.kinematics, self._ramp) if guarded else None

    @property
    def slowed_by(self) -> str:
        """What a guarded arm was slowed down for in the last step; empty when it was not."""
        return "" if self._guard is None else self._guard.slowed_by

    @property
    def at_rest(self) -> bool:
        """Whether the last velocities commanded were all zero."""
        return not self._motion.velocity.any()

    def reset(self, ids: np.ndarray | None = None, gripper_open: np.ndarray | bool = True) -> None:
        """Forget the last command of simulations `ids` (all by default)."""
        rows = slice(None) if ids is None else ids
        self._motion.velocity[rows] = 0.0
        self._motion.change[rows] = 0.0
        self._gripper_open[rows] = gripper_open

    def resume(self, velocities: np.ndarray) -> None:
        """Go on from the joint velocities [rad/s] that one arm is measured to have, after a gap.

        Meanwhile its driver may have braked, or not. Velocities that the arm cannot have are
        ignored. Shape (joints,).
        """
        limit = self._ramp.max_velocity
        if (np.abs(velocities) <= MEASURED_EXCESS * limit).all():
            clipped = np.clip(velocities, -limit, limit)[None]
            self._motion = Motion(clipped, np.zeros_like(clipped))

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
        measured = np.abs(q) < FARTHEST
        usable = np.isfinite(action).all(axis=-1) & measured.all(axis=-1)
        q = np.where(measured, q, self.config.home)
        action = np.clip(
            np.where(usable[:, None], action, [0.0, 0.0, 0.0, np.nan]), ACTION_LOW, ACTION_HIGH
        )
        frames = None if self._guard is None else self.kinematics.frames(q)
        velocity = np.where(usable[:, None], self._solve(q, action[:, :3], frames), 0.0)
        self._gripper_open |= action[:, 3] > GRIPPER_OPEN_ABOVE
        self._gripper_open &= ~(action[:, 3] < GRIPPER_CLOSE_BELOW)
        config = self.config
        width = np.where(self._gripper_open, config.max_gripper_width, config.min_gripper_width)
        if self._guard is None:
            self._motion = self._limit(q, velocity)
        else:
            self._motion = self._guarded(q, frames, velocity) if usable[0] else self._braked()
        return self._motion.velocity.copy(), width

    def stop(self) -> np.ndarray:
        """Joint velocities [rad/s], (n, joints): a tick of the way to rest."""
        self._motion = self._braked()
        return self._motion.velocity.copy()

    def _check(self, value: np.ndarray, size: int, name: str) -> np.ndarray:
        value = np.asarray(value, dtype=np.float64)
        if value.shape != (self._batch_size, size):
            raise ValueError(f"{name} has shape {value.shape}, not {(self._batch_size, size)}")
        return value

    def _solve(self, q: np.ndarray, linear: np.ndarray, frames: Frames | None) -> np.ndarray:
        config = self.config
        if frames is None:
            position, rotation, jacobian = self.kinematics.forward_and_jacobian(q)
        else:  # the same to rounding, and quicker for one arm
            position, rotation = frames.tip, frames.rotations[:, -1] @ self.kinematics.tip_rotation
            jacobian = frames.jacobian
        linear = np.clip(
            linear,
            WORKSPACE_GAIN * (config.workspace_lower - position),
            WORKSPACE_GAIN * (config.workspace_upper - position),
        )
        return resolve_rates(rotation, jacobian, q, linear, config.rotation, config.home)

    def _guarded(self, q: np.ndarray, frames: Frames, velocity: np.ndarray) -> Motion:
        """The wish, or the largest part of it after which the arm can still come to rest."""
        guard, arm = self._guard, q[0]
        wish = guard.soften(arm, frames, velocity[0])[None]
        for share in _SHARES:
            motion = self._limit(q, share * wish)
            if guard.permits(arm, frames, motion):
                return motion
        return self._braked()

    def _braked(self) -> Motion:
        return self._ramp.brake(self._motion)

    def _limit(self, q: np.ndarray, velocity: np.ndarray) -> Motion:
        # one scale for all joints keeps the direction of the motion
        excess = np.max(np.abs(velocity) / self._ramp.max_velocity, axis=-1, keepdims=True)
        # joints slow down before their limits, each by itself
        config = self.config
        lowest = np.minimum(JOINT_LIMIT_GAIN * (config.joint_lower - q), 0.0)
        highest = np.maximum(JOINT_LIMIT_GAIN * (config.joint_upper - q), 0.0)
        velocity = _between(lowest, velocity / np.maximum(excess, 1.0), highest)
        velocity = _between(lowest, self._ramp.approach(self._motion, velocity), highest)
        return self._ramp.follow(self._motion, velocity)


def _between(lowest: np.ndarray, values: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """NumPy's `clip`, quicker for small arrays."""
    return np.minimum(np.maximum(values, lowest), highest)
