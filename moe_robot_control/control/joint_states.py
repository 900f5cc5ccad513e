"""Joint states of an arm and of a gripper that has a driver of its own, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class JointState:
    """Joints at one instant.

    Attributes:
        stamp: of the measurement [ns].
        names, positions: of the joints [rad] or [m].
        velocities: [rad/s] or [m/s]; empty where unknown.
    """

    stamp: int
    names: tuple[str, ...]
    positions: tuple[float, ...]
    velocities: tuple[float, ...] = ()


class JointStateMerger:
    """Completes every joint state of the arm by the gripper's newest.

    The arm's stamps are kept, and nothing comes out while the gripper is silent: who listens must
    see that a driver has died.
    """

    def __init__(self, max_age: float) -> None:
        """Take gripper states that are at most `max_age` [s] older than the arm's."""
        self._max_age = round(max_age * 1e9)
        self._gripper: JointState | None = None

    def set_gripper(self, state: JointState) -> None:
        """Take the gripper's joints."""
        self._gripper = state

    def complete(self, arm: JointState) -> JointState | None:
        """All joints at the instant of the arm's; None while the gripper's are missing or old."""
        gripper = self._gripper
        if gripper is None or abs(arm.stamp - gripper.stamp) > self._max_age:
            return None
        new = [i for i, name in enumerate(gripper.names) if name not in arm.names]
        velocities: tuple[float, ...] = ()
        if len(arm.velocities) == len(arm.names):
            known = len(gripper.velocities) == len(gripper.names)
            velocities = arm.velocities + _pick(gripper.velocities if known else (), new)
        return JointState(
            arm.stamp,
            arm.names + tuple(gripper.names[i] for i in new),
            arm.positions + _pick(gripper.positions, new),
            velocities,
        )


def _pick(values: Sequence[float], indices: Sequence[int]) -> tuple[float, ...]:
    # a gripper's velocity that is unknown is taken to be zero: nobody acts on it
    return tuple(values[i] for i in indices) if values else (0.0,) * len(indices)
