"""Whether measurements can be trusted: their age, and where they say the joints are."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig

FUTURE_TOLERANCE = 0.1
"""Stamps may lie this far in the future, as clocks of two machines never quite agree [s]."""
BEYOND = 0.05
"""A joint measured farther beyond its limits than this is out of them [rad]."""
SPEEDING = 2.0
"""A joint that is this many times faster than its limit has not moved: the measurement jumped."""
NOISE = 0.03
"""Difference of two measurements that is never called a jump [rad]."""
SETTLE = 0.3
"""After a jump or a silence, measurements must come and agree for so long before the arm moves [s].

A driver that comes back tells its state before it hears commands: those of a ramp sent meanwhile
would be lost, and the first to arrive would be a step."""
LONGEST_SETTLE = 1.5
"""After a silence longer than `SETTLE`, as long as it lasted, but not longer than this [s].

A driver silent for a moment was slow or frozen; one silent for seconds was started anew, and it
takes discovery a while to bring it the commands."""


def age_fault(what: str, now: int, stamp: int, deadline: int) -> str:
    """Why something stamped at `stamp` cannot be used, in words; empty if it can. All in [ns]."""
    age = (now - stamp) * 1e-9
    if now - stamp > deadline:
        verb = "are" if what.endswith("s") else "is"
        return f"{what} {verb} stale: {age:.2f} s old"
    if -age > FUTURE_TOLERANCE:
        return f"{what} stamped in the future: by {-age:.2f} s; do the clocks agree?"
    return ""


class JointWatch:
    """Watches an arm's measured joint positions."""

    def __init__(self, config: ArmConfig, deadline: float = 0.1) -> None:
        """Start without a measurement.

        Args:
            config: the arm.
            deadline: oldest measurement by which the arm may move [s].
        """
        self._config = config
        self._deadline = round(deadline * 1e9)
        self._rejected = ""
        self.reset()

    def reset(self) -> None:
        """Forget all measurements, as time was set back or the arm was put elsewhere."""
        self._last: tuple[int, np.ndarray] | None = None
        self._unsettled: tuple[int, str] | None = None

    def is_late(self, stamp: int) -> bool:
        """Whether a measurement [ns] was overtaken by a newer one on the way, and tells nothing.

        One that is older by far is no such thing: a clock was set back.
        """
        return self._last is not None and 0 < self._last[0] - stamp <= 5 * self._deadline

    def is_elsewhere(self, positions: np.ndarray) -> bool:
        """Whether the joints [rad], shape (joints,), are not where they were measured last."""
        return self._last is not None and bool((np.abs(positions - self._last[1]) > NOISE).any())

    def reject(self, fault: str) -> None:
        """The newest message could not be used at all; the next one that can clears this."""
        self._rejected = fault

    def measure(self, stamp: int, positions: np.ndarray) -> None:
        """Take joint positions [rad], shape (joints,), measured at `stamp` [ns]."""
        self._rejected = ""
        names = self._config.joint_names
        if not np.isfinite(positions).all():
            joint = names[int(np.argmin(np.isfinite(positions)))]
            self._rejected = f"position of joint {joint!r} is not finite"
            return
        if self._last is not None:
            elapsed = max(stamp - self._last[0], 0) * 1e-9
            allowed = NOISE + SPEEDING * self._config.joint_velocity * elapsed
            excess = np.abs(positions - self._last[1]) - allowed
            if elapsed * 1e9 > self._deadline:
                wait = float(np.clip(elapsed, SETTLE, LONGEST_SETTLE))
                self._unsettle(stamp, wait, "they have just come back")
            if (excess > 0).any():
                joint = names[int(np.argmax(excess))]
                self._unsettle(stamp, SETTLE, f"the position of joint {joint!r} jumped")
        if self._unsettled is not None and stamp > self._unsettled[0]:
            self._unsettled = None
        self._last = stamp, positions

    def _unsettle(self, stamp: int, seconds: float, why: str) -> None:
        until = stamp + round(seconds * 1e9)
        if self._unsettled is not None:
            until = max(until, self._unsettled[0])
        self._unsettled = until, f"joint states: {why}"

    def age(self, now: int) -> float | None:
        """Age of the newest measurement [s] at `now` [ns]; None without any."""
        return None if self._last is None else (now - self._last[0]) * 1e-9

    def fault(self, now: int) -> str:
        """Why the arm must not move at `now` [ns]; empty when it may."""
        if self._rejected:
            return f"joint states: {self._rejected}"
        if self._last is None:
            return "no joint states yet"
        stamp, positions = self._last
        if fault := age_fault("joint states", now, stamp, self._deadline):
            return fault
        if self._unsettled is not None:
            return self._unsettled[1]
        config = self._config
        beyond = np.maximum(config.joint_lower - positions, positions - config.joint_upper)
        if (beyond > BEYOND).any():
            joint = config.joint_names[int(np.argmax(beyond))]
            return f"joint states: joint {joint!r} is {beyond.max():.2f} rad out of its limits"
        return ""
