"""Puts together what was seen and measured at one instant, from messages in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from moe_robot_control.policies.memory import SceneMemory
from moe_robot_control.policies.spaces import OBJECTS, Scene


@dataclass
class _Frame:
    visible: frozenset[str] | None = None
    positions: dict[str, np.ndarray] = field(default_factory=dict)


class SceneSynchronizer:
    """Builds the `Scene` of a stamp once everything stamped so has come.

    A frame is complete with the list of objects seen, the position of every listed object of
    interest, and a joint state at least as new; the joint state nearest to the frame is used.
    Positions of objects not seen in a frame are those remembered. A frame supersedes older
    ones, complete or not. A joint state older than the last one means that time was set back
    (a new episode): everything is forgotten. Everything is idempotent: what is delivered
    twice yields the same scene again.

    Stamps are integers [ns].
    """

    def __init__(
        self,
        tip_position: Callable[[np.ndarray], np.ndarray],
        objects: Iterable[str] = OBJECTS,
        max_skew: float = 0.02,
        max_lead: float = 0.5,
    ) -> None:
        """Start with nothing known.

        Args:
            tip_position: from joint positions [rad], shape (n,), to the end effector's
                position [m, base frame], shape (3,); called only for joint states in use.
            objects: names of interest, out of `OBJECTS`.
            max_skew: largest distance between a frame and its joint state [s].
            max_lead: frames further ahead of the joint states are leftovers from before time
                was set back, and are dropped [s].

        Raises:
            ValueError: an unknown object.
        """
        self.objects = tuple(objects)
        unknown = [name for name in self.objects if name not in OBJECTS]
        if unknown:
            raise ValueError(f"unknown object {unknown[0]!r}: expected one of {OBJECTS}")
        self._tip_position = tip_position
        self._max_skew = round(max_skew * 1e9)
        self._max_lead = round(max_lead * 1e9)
        self._memory = SceneMemory()
        self._frames: dict[int, _Frame] = {}
        self._joints: dict[int, tuple[np.ndarray, float]] = {}
        self._newest: int | None = None
        self._done: int | None = None

    def reset(self) -> None:
        """Forget everything."""
        self._memory.reset()
        self._frames.clear()
        self._joints.clear()
        self._newest = None
        self._done = None

    def add_joint_state(
        self, stamp: int, joint_positions: np.ndarray, gripper_width: float
    ) -> tuple[int, Scene] | None:
        """Take a measurement of the joints [rad], shape (n,), and the gripper's opening [m].

        Returns:
            Stamp and scene of the newest frame that this completes, if any; so do the others.
        """
        if self._newest is not None and stamp < self._newest:
            frames = {s: frame for s, frame in self._frames.items() if s <= stamp}
            self.reset()
            self._frames = frames
        self._newest = stamp
        self._joints[stamp] = (np.array(joint_positions, dtype=np.float64), float(gripper_width))
        while len(self._joints) > 64:
            del self._joints[min(self._joints)]
        return self._complete()

    def add_visible(self, stamp: int, names: Iterable[str]) -> tuple[int, Scene] | None:
        """Take the list of all objects seen at `stamp`."""
        frame = self._frame(stamp)
        if frame is None:
            return None
        frame.visible = frozenset(names).intersection(self.objects)
        return self._complete()

    def add_position(self, stamp: int, name: str, position: np.ndarray) -> tuple[int, Scene] | None:
        """Take the position [m, base frame], shape (3,), of an object seen at `stamp`."""
        frame = self._frame(stamp)
        if frame is None or name not in self.objects:
            return None
        frame.positions[name] = np.array(position, dtype=np.float64)
        return self._complete()

    def _frame(self, stamp: int) -> _Frame | None:
        if self._newest is not None and stamp > self._newest + self._max_lead:
            return None
        if self._done is not None and stamp < self._done:
            return None
        while len(self._frames) > 8:
            del self._frames[min(self._frames)]
        return self._frames.setdefault(stamp, _Frame())

    def _complete(self) -> tuple[int, Scene] | None:
        if self._newest is None:
            return None
        for stamp in sorted(self._frames, reverse=True):
            frame = self._frames[stamp]
            if frame.visible is None or stamp > self._newest:
                continue
            if not frame.visible <= frame.positions.keys():
                continue
            nearest = min(self._joints, key=lambda joint: (abs(joint - stamp), joint))
            if abs(nearest - stamp) > self._max_skew:
                continue
            del self._frames[stamp]
            for older in [s for s in self._frames if s < stamp]:
                del self._frames[older]
            self._done = stamp
            self._memory.update({name: frame.positions[name] for name in frame.visible})
            joints, width = self._joints[nearest]
            return stamp, self._memory.scene(self._tip_position(joints), width)
        return None
