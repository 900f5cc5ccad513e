"""Keeps one arm clear of itself, the table, keep-out boxes and singularities."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.clearances import Clearances
from moe_robot_control.control.kinematics import Frames, Kinematics
from moe_robot_control.control.ramp import Motion, Ramp
from moe_robot_control.policies.spaces import CONTROL_PERIOD

DAMPER_GAIN = 10.0
"""A clearance shrinks at most by this times what is left of it, each second [1/s]."""
RESERVE = 0.002
"""Clearance at which the damper lets nothing come nearer [m] or [rad]."""
INFLUENCE = 0.05
"""Clearances below this are heeded when a velocity is bent, lest it run into the next obstacle."""
SLOW_BELOW, STOP_BELOW = 0.08, 0.03
"""Smallest singular value of the tip's Jacobian below which motion towards the singularity is
slowed down, and below which it is stopped; rows in [m] and [rad]."""
_LOOK_AHEAD = 1e-3
"""How far ahead the singular value is looked at [rad]."""
_DAMPING = 1e-6
"""Of the inverse that keeps the tip's orientation, where the arm cannot turn it about each axis."""
ROUNDING = 1e-9
"""A clearance's [m] or [rad]."""
_ENOUGH = 1e-4
"""What may be lacking of a clearance's growth: far less than the reserve makes up for [m/s]."""
_PROJECTIONS = 20
"""Most projections of one wish; what is left is for the guarantee to stop."""


class Guard:
    """Two lines of defence of one arm's joint velocities.

    `soften` bends wishes: a velocity damper (Faverjon and Tournassoud 1987) takes away the part
    of a velocity that approaches an obstacle faster than `DAMPER_GAIN` x distance, by
    projections that keep the tip's orientation where they can; then motion towards a singularity
    is scaled down, as MoveIt Servo does, while motion away from it is free.

    `permits` is the guarantee: a velocity is let through only if the arm can come to rest after
    it, by its ordinary ramp, without a broken clearance at any tick. As the way to rest was
    checked when the last velocity was let through, it is always there to fall back on: an arm
    that follows its commands breaks no limit, whatever the wishes. Where a limit is already
    broken, as somebody has pushed the arm or moved its description, it may not get worse.
    """

    def __init__(self, config: ArmConfig, kinematics: Kinematics, ramp: Ramp) -> None:
        self._kinematics = kinematics
        self._ramp = ramp
        self.clearances = Clearances(config, kinematics)
        self._seen: tuple[Frames, np.ndarray] | None = None
        self.slowed_by = ""
        """What the last wish was slowed down for; empty when it was not."""

    def soften(
        self, joint_positions: np.ndarray, frames: Frames, velocity: np.ndarray
    ) -> np.ndarray:
        """A wish [rad/s] that heeds obstacles and singularities; untouched where there are none.

        Shapes (joints,). At configuration `joint_positions` [rad], whose frames (n = 1) are known.
        """
        self.slowed_by = ""
        here = self._clearances_at(joint_positions, frames)
        least = -DAMPER_GAIN * (here - RESERVE)
        # what cannot come nearer so fast needs no gradient
        fastest = self.clearances.reach @ np.abs(velocity)
        near = np.flatnonzero((fastest > -least) | (here < INFLUENCE))
        if len(near):
            rows, least = self.clearances.gradients(frames, near), least[near]
            too_fast = rows @ velocity < least
            if too_fast.any():
                heeded = too_fast | (here[near] < INFLUENCE)
                jacobian = frames.jacobian[0]
                velocity = self._damp(jacobian, velocity, near[heeded], rows[heeded], least[heeded])
        return self._slow_down(joint_positions, frames, velocity)

    def permits(self, joint_positions: np.ndarray, frames: Frames, motion: Motion) -> bool:
        """Whether the arm can do this motion's velocity for a tick and then come to rest.

        At configuration `joint_positions` [rad], shape (joints,), whose frames (n = 1) are known.
        """
        here = self._clearances_at(joint_positions, frames)
        velocities = np.concatenate([motion.velocity, self._ramp.way_to_rest(motion)])
        steps = CONTROL_PERIOD * velocities
        # what the way cannot reach needs no look
        farthest = self.clearances.reach @ np.abs(steps).sum(axis=0)
        near = np.flatnonzero(here < farthest + ROUNDING)
        if not len(near):
            return True
        path = joint_positions + np.cumsum(steps, axis=0)
        clearances = self.clearances.some(path, self._kinematics.frames(path), near)
        broken = clearances < np.minimum(here[near], 0.0)
        if broken.any():
            self.slowed_by = self.clearances.names[near[int(np.argmax(broken.any(axis=0)))]]
            return False
        return True

    def _clearances_at(self, joint_positions: np.ndarray, frames: Frames) -> np.ndarray:
        """Shape (m,); those of the last look if it was here."""
        if self._seen is None or self._seen[0] is not frames:
            self._seen = frames, self.clearances.of(joint_positions[None], frames)[0]
        return self._seen[1]

    def _damp(
        self,
        jacobian: np.ndarray,
        velocity: np.ndarray,
        near: np.ndarray,
        rows: np.ndarray,
        least: np.ndarray,
    ) -> np.ndarray:
        """Project a velocity until each of the clearances `near` grows by `least` or more.

        `rows` are their gradients. Shapes (6, j), (j,), (k,), (k, j), (k,) -> (j,).
        """
        turning = jacobian[3:]
        square = turning @ turning.T + _DAMPING * np.eye(3)
        keeping = np.eye(len(velocity)) - turning.T @ np.linalg.solve(square, turning)
        moves = rows @ keeping
        # what only turning the tip can avoid is avoided by turning it
        free = np.einsum("ki,ki->k", moves, rows) > 0.05 * np.einsum("ki,ki->k", rows, rows)
        moves = np.where(free[:, None], moves, rows)
        effect = np.maximum(np.sqrt(np.einsum("ki,ki->k", moves, rows)), 1e-6)
        for _ in range(_PROJECTIONS):
            lacking = (least - rows @ velocity) / effect
            worst = int(np.argmax(lacking))
            if lacking[worst] <= _ENOUGH:
                break
            self.slowed_by = self.slowed_by or self.clearances.names[near[worst]]
            velocity = velocity + moves[worst] * (lacking[worst] / effect[worst])
        return velocity

    def _slow_down(
        self, joint_positions: np.ndarray, frames: Frames, velocity: np.ndarray
    ) -> np.ndarray:
        """Scale a velocity that leads further into a singularity."""
        here = _smallest_singular_value(frames)
        speed = float(np.linalg.norm(velocity))
        if here >= SLOW_BELOW or speed < 1e-9:
            return velocity
        ahead = joint_positions + _LOOK_AHEAD / speed * velocity
        if _smallest_singular_value(self._kinematics.frames(ahead[None])) >= here:
            return velocity
        self.slowed_by = self.slowed_by or "singularity"
        return velocity * max((here - STOP_BELOW) / (SLOW_BELOW - STOP_BELOW), 0.0)


def _smallest_singular_value(frames: Frames) -> float:
    """Of the tip's Jacobian."""
    return float(np.linalg.svd(frames.jacobian[0], compute_uv=False)[-1])
