"""How joint velocities change: within velocity, acceleration and jerk limits, to zero in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.policies.spaces import CONTROL_PERIOD

STOP_TIME = 0.15
"""Longest time from any velocity to zero [s]."""
_RESERVE = 0.1
"""Part of a tick kept back, so that rounding does not cost another."""


@dataclass(frozen=True)
class Motion:
    """The last command: joint velocities and how they changed from the one before, both (n, j).

    Units: [rad/s].
    """

    velocity: np.ndarray
    change: np.ndarray


class Ramp:
    """Follows wanted joint velocities as fast as the limits allow.

    All joints' changes are scaled alike, as a slow joint would else bend the tip's path. Where
    the jerk limit is so high that acceleration may turn about within a tick (Franka's is), it
    costs nothing. Otherwise the acceleration is eased off by at most jerk x period each tick, in
    time to arrive at the wanted velocity without acceleration: the sequence with the fewest
    ticks, whose first change is V / n + d (n - 1) / 2 for a rest V, n ticks and easing d.

    Velocities are capped such that `STOP_TIME` suffices to come to rest, which may cost arms
    with low acceleration some of their speed.
    """

    def __init__(self, config: ArmConfig) -> None:
        period = CONTROL_PERIOD
        easing = config.joint_jerk * period**2
        acceleration = config.joint_acceleration
        self.eased = bool((easing < 2.0 * acceleration * period).any())
        """Whether the jerk limit is ever felt."""
        stop_time = STOP_TIME - _RESERVE * period
        if self.eased:
            # at worst the joint accelerates when it is told to stop: easing that off, building
            # up the opposite and easing that off takes 2 a / j beside v / a, and rounding a tick
            # each; v is largest for a = j t / 4
            stop_time -= 3.0 * period
            acceleration = np.minimum(acceleration, config.joint_jerk * stop_time / 4.0)
            stop_time = stop_time - 2.0 * acceleration / config.joint_jerk
        self.max_velocity = np.minimum(config.joint_velocity, acceleration * stop_time)
        """Largest speed commanded [rad/s]. Shape (j,)."""
        self._change = acceleration * period
        self._easing = easing

    def still(self, batch_size: int) -> Motion:
        """Arms at rest."""
        zeros = np.zeros((batch_size, len(self._change)))
        return Motion(zeros, zeros.copy())

    def approach(self, motion: Motion, wanted: np.ndarray) -> np.ndarray:
        """Velocities [rad/s] a tick nearer to `wanted`, all joints' changes scaled alike."""
        rest = wanted - motion.velocity
        largest = self._change
        if self.eased:
            largest = np.minimum(largest, self._ease(np.abs(rest)))
        excess = np.max(np.abs(rest) / np.maximum(largest, 1e-300), axis=-1, keepdims=True)
        return motion.velocity + rest / np.maximum(excess, 1.0)

    def follow(self, motion: Motion, wanted: np.ndarray) -> Motion:
        """The motion after a tick whose velocity is as near to `wanted` as limits allow."""
        last = motion.velocity
        lower, upper = -self._change, self._change
        if self.eased:
            limit = self.max_velocity
            lower = np.maximum(lower, motion.change - self._easing)
            upper = np.minimum(upper, motion.change + self._easing)
            # never so fast that easing off would pass the velocity limit
            lower = np.maximum(lower, -self._ease(np.maximum(limit + last, 0.0)))
            upper = np.minimum(upper, self._ease(np.maximum(limit - last, 0.0)))
        velocity = np.clip(wanted, last + lower, last + upper)
        return Motion(velocity, velocity - last)

    def brake(self, motion: Motion) -> Motion:
        """One tick of the way to rest."""
        if not self.eased:
            # the same in fewer operations: the way to rest is looked at in every tick
            last = motion.velocity
            excess = np.max(np.abs(last) / self._change, axis=-1, keepdims=True)
            change = -last / np.maximum(excess, 1.0)
            return Motion(last + change, change)
        return self.follow(motion, self.approach(motion, np.zeros_like(motion.velocity)))

    def way_to_rest(self, motion: Motion) -> np.ndarray:
        """All velocities of `brake` until rest [rad/s]. Shape (ticks, j), for a batch of one."""
        if not self.eased:
            ticks = float(np.max(np.abs(motion.velocity) / self._change))
            shares = 1.0 - np.arange(1, int(np.ceil(ticks)) + 1) / max(ticks, 1e-300)
            return np.maximum(shares, 0.0)[:, None] * motion.velocity
        velocities = []
        while motion.velocity.any():
            motion = self.brake(motion)
            velocities.append(motion.velocity[0])
        return np.array(velocities).reshape(-1, len(self._change))

    def _ease(self, rest: np.ndarray) -> np.ndarray:
        """Largest change from which easing off covers no more than `rest` [rad/s]."""
        easing = self._easing
        ticks = np.maximum(np.ceil((np.sqrt(1.0 + 8.0 * rest / easing) - 1.0) / 2.0), 1.0)
        return rest / ticks + easing * (ticks - 1.0) / 2.0
