"""Decides which action moves the arm now, or why it must stand still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moe_robot_control.policies.mixture import mix
from moe_robot_control.policies.spaces import ACTION_SIZE

MODES: tuple[str, ...] = ("policy", "teleop", "idle")
"""Who commands the arm: the experts through the gate, the operator, or nobody."""

_KEPT = 8
"""Stamps remembered of each source."""


@dataclass(frozen=True)
class Decision:
    """What to do now.

    Attributes:
        action: velocity [m/s] and gripper opening [m], shape (4,); None: come to rest.
        reason: why the arm comes to rest; empty while an action is given.
        stamp: the observation that the action answers [ns]; 0 when there is none.
    """

    action: np.ndarray | None
    reason: str = ""
    stamp: int = 0


class Arbiter:
    """Mixes gate weights and expert actions of one stamp, and watches their age.

    Only weights and actions that answer the same observation are mixed, and only actions of
    experts with a weight above zero are needed. The emergency stop is latched: it outlasts
    changes of mode until `release`. Stamps are integers [ns].
    """

    def __init__(self, experts: Sequence[str], max_age: float = 0.3, mode: str = "policy") -> None:
        """Start with nothing to mix.

        Args:
            experts: names, in the order of the weights.
            max_age: oldest action that may still move the arm [s].
            mode: one of `MODES`.
        """
        self.experts = tuple(experts)
        self.max_age = round(max_age * 1e9)
        self.stopped = False
        self._mode = ""
        self.mode = mode
        self.reset()

    @property
    def mode(self) -> str:
        """One of `MODES`."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(MODES)}")
        if mode != self._mode:
            # an operator's old wish must not move the arm when he takes over again
            self._operator: tuple[int, np.ndarray] | None = None
            self._operator_width: float | None = None
        self._mode = mode

    def reset(self) -> None:
        """Forget weights and actions, as time was set back; mode and emergency stop stay."""
        self._weights: dict[int, np.ndarray] = {}
        self._twists: dict[str, dict[int, np.ndarray]] = {name: {} for name in self.experts}
        self._grippers: dict[str, dict[int, float]] = {name: {} for name in self.experts}
        self._operator = None
        self._operator_width = None
        self._rejected = ""

    def set_weights(self, stamp: int, weights: Mapping[str, float]) -> None:
        """Take the gate's weights; missing experts weigh nothing."""
        unknown = [name for name in weights if name not in self.experts]
        array = np.array([weights.get(name, 0.0) for name in self.experts], dtype=np.float64)
        if unknown:
            self._rejected = f"gate weighs an unknown expert {unknown[0]!r}"
        elif not np.isfinite(array).all() or (array < 0).any() or abs(array.sum() - 1) > 1e-3:
            self._rejected = "gate weights are not finite, not negative and of sum 1"
        else:
            self._rejected = ""
            _remember(self._weights, stamp, array)

    def set_twist(self, expert: str, stamp: int, velocity: np.ndarray) -> None:
        """Take an expert's end-effector velocity, base frame [m/s]. Shape (3,)."""
        _remember(self._twists[expert], stamp, np.array(velocity, dtype=np.float64))

    def set_gripper(self, expert: str, stamp: int, width: float) -> None:
        """Take an expert's gripper opening [m]."""
        _remember(self._grippers[expert], stamp, float(width))

    def set_operator_twist(self, stamp: int, velocity: np.ndarray) -> None:
        """Take the operator's end-effector velocity, base frame [m/s]. Shape (3,)."""
        self._operator = stamp, np.array(velocity, dtype=np.float64)

    def set_operator_gripper(self, width: float) -> None:
        """Take the operator's gripper opening [m]; it holds until the next."""
        self._operator_width = float(width)

    def decide(self, now: int, width: float = 0.0) -> Decision:
        """The action now [ns], from the newest observation that is answered completely.

        Args:
            now: the present [ns].
            width: the gripper's opening [m], kept when an operator has not set one.
        """
        if reason := self.inhibition:
            return Decision(None, reason)
        if self._mode == "teleop":
            return self._operator_decision(now, width)
        newest = max(self._weights, default=None)
        if self._rejected:
            return Decision(None, self._rejected)
        if newest is None:
            return Decision(None, "no gate weights yet")
        if now - newest > self.max_age:
            return Decision(None, f"gate weights are stale: {(now - newest) * 1e-9:.2f} s old")
        for stamp in sorted(self._weights, reverse=True):
            if now - stamp <= self.max_age and not self.missing(stamp):
                return self.answer(stamp)
        missing = self.missing(newest)[0]
        return Decision(None, f"no action of expert {missing!r} for the latest gate weights")

    @property
    def inhibition(self) -> str:
        """Why nothing may move whatever the policies say; empty when they may."""
        if self.stopped:
            return "emergency stop"
        return "idle" if self._mode == "idle" else ""

    def missing(self, stamp: int) -> list[str]:
        """What is still to come before `stamp` is answered: experts, or the gate itself."""
        weights = self._weights.get(stamp)
        if weights is None:
            return ["manipulation_network"]
        return [
            name
            for name, weight in zip(self.experts, weights, strict=True)
            if weight > 0 and not (stamp in self._twists[name] and stamp in self._grippers[name])
        ]

    def answer(self, stamp: int) -> Decision:
        """The mixture for `stamp`, for which nothing is missing."""
        weights = self._weights[stamp]
        actions = np.full((len(self.experts), ACTION_SIZE), np.nan)
        for i, name in enumerate(self.experts):
            if weights[i] > 0:
                actions[i, :3] = self._twists[name][stamp]
                actions[i, 3] = self._grippers[name][stamp]
                if not np.isfinite(actions[i]).all():
                    return Decision(None, f"action of expert {name!r} is not finite", stamp)
        return Decision(mix(actions, weights), stamp=stamp)

    def _operator_decision(self, now: int, width: float) -> Decision:
        if self._operator is None:
            return Decision(None, "no operator command yet")
        stamp, velocity = self._operator
        if now - stamp > self.max_age:
            return Decision(None, f"operator command is stale: {(now - stamp) * 1e-9:.2f} s old")
        opening = width if self._operator_width is None else self._operator_width
        action = np.append(velocity, opening)
        if not np.isfinite(action).all():
            return Decision(None, "operator command is not finite", stamp)
        return Decision(action, stamp=stamp)


def _remember(store: dict[int, object], stamp: int, value: object) -> None:
    store[stamp] = value
    while len(store) > _KEPT:
        del store[min(store)]
