"""Decides which action moves the arm now, or why it must stand still."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moe_robot_control.control.watchdog import FUTURE_TOLERANCE, age_fault
from moe_robot_control.policies.mixture import mix
from moe_robot_control.policies.spaces import ACTION_SIZE

MODES: tuple[str, ...] = ("policy", "teleop", "idle")
"""Who commands the arm: the experts through the gate, the operator, or nobody."""

_KEPT = 8
"""Stamps remembered of each source."""
_TOLERANCE = round(FUTURE_TOLERANCE * 1e9)


@dataclass(frozen=True)
class Decision:
    """What to do now.

    Attributes:
        action: velocity [m/s] and gripper opening [m], shape (4,); None: come to rest.
        reason: why the arm comes to rest; empty while an action is given.
        stamp: the observation that the action answers [ns]; 0 when there is none.
        source: who commands: `policy`, `operator`, or nobody (empty).
        without: experts whose small weights were left out, as they did not answer.
    """

    action: np.ndarray | None
    reason: str = ""
    stamp: int = 0
    source: str = ""
    without: tuple[str, ...] = ()


class Arbiter:
    """Mixes gate weights and expert actions of one stamp, and watches their age.

    Only weights and actions that answer the same observation are mixed, and only actions of
    experts with a weight above zero are needed. Of the observations within `max_age`, the newest
    that is answered completely counts; if none is, the newest whose missing experts together
    weigh no more than `missing_share`, and the others' weights are scaled to sum 1.

    An operator wins in every mode but idle while his twists keep coming (teleoperation publishes
    them only while the deadman is held). Two at once stop the arm, as neither may know of the
    other. What is stamped in the future, as clocks disagree or have jumped, is dropped.

    The emergency stop is latched: it outlasts changes of mode until `release`. Stamps are
    integers [ns].
    """

    def __init__(
        self,
        experts: Sequence[str],
        max_age: float = 0.3,
        mode: str = "policy",
        operator_deadline: float = 0.2,
        missing_share: float = 0.1,
    ) -> None:
        """Start with nothing to mix.

        Args:
            experts: names, in the order of the weights.
            max_age: oldest weights and actions that may still move the arm [s].
            mode: one of `MODES`.
            operator_deadline: oldest twist of an operator that still counts [s].
            missing_share: largest weight of experts that are not waited for.
        """
        self.experts = tuple(experts)
        self.max_age = round(max_age * 1e9)
        self.operator_deadline = round(operator_deadline * 1e9)
        self.missing_share = missing_share
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
            self._forget_operators()
        self._mode = mode

    def reset(self) -> None:
        """Forget weights and actions, as time was set back; mode and emergency stop stay."""
        self._weights: dict[int, np.ndarray] = {}
        self._twists: dict[str, dict[int, np.ndarray]] = {name: {} for name in self.experts}
        self._grippers: dict[str, dict[int, float]] = {name: {} for name in self.experts}
        self._forget_operators()
        self._rejected = ""
        self._future = ""

    def _forget_operators(self) -> None:
        self._operators: dict[Hashable, tuple[int, np.ndarray]] = {}
        self._operator_width: float | None = None
        self._operated = False

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

    def reject_weights(self, fault: str) -> None:
        """The gate's newest message could not be used at all; the next one that can clears this."""
        self._rejected = f"gate weights: {fault}"

    def set_twist(self, expert: str, stamp: int, velocity: np.ndarray) -> None:
        """Take an expert's end-effector velocity, base frame [m/s]. Shape (3,)."""
        _remember(self._twists[expert], stamp, np.array(velocity, dtype=np.float64))

    def set_gripper(self, expert: str, stamp: int, width: float) -> None:
        """Take an expert's gripper opening [m]."""
        _remember(self._grippers[expert], stamp, float(width))

    def set_operator_twist(
        self, stamp: int, velocity: np.ndarray, operator: Hashable = "operator"
    ) -> None:
        """Take an operator's end-effector velocity, base frame [m/s]. Shape (3,).

        `operator` tells operators apart.
        """
        newest = self._operators.get(operator)
        if newest is None or stamp >= newest[0] or newest[0] - stamp > self.operator_deadline:
            self._operators[operator] = stamp, np.array(velocity, dtype=np.float64)

    def set_operator_gripper(self, width: float) -> None:
        """Take the operator's gripper opening [m]; it holds until the next."""
        self._operator_width = float(width)

    def decide(self, now: int, width: float = 0.0) -> Decision:
        """The action now [ns].

        Args:
            now: the present [ns].
            width: the gripper's opening [m], kept when an operator has not set one.
        """
        if reason := self.inhibition:
            return Decision(None, reason)
        if self.has_operator(now) or self._mode == "teleop":
            self._operated = True
            return self._operator_decision(now, width)
        if self._operated:
            # not always: the opening of one who takes over may come before his twist
            self._operator_width, self._operated = None, False
        return self._policy_decision(now)

    @property
    def inhibition(self) -> str:
        """Why nothing may move whatever the policies say; empty when they may."""
        if self.stopped:
            return "emergency stop"
        return "idle" if self._mode == "idle" else ""

    def has_operator(self, now: int) -> bool:
        """Whether an operator commands now [ns]."""
        return bool(self._present_operators(now))

    def ages(self, now: int) -> dict[str, float]:
        """Age of the newest input of every source that has sent any [s]."""
        sources: dict[str, Mapping[int, object]] = {"gate": self._weights, **self._twists}
        newest = {name: max(stamps) for name, stamps in sources.items() if stamps}
        if self._operators:
            newest["operator"] = max(stamp for stamp, _ in self._operators.values())
        return {name: (now - stamp) * 1e-9 for name, stamp in newest.items()}

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
        """The mixture for `stamp`, without experts that are missing."""
        weights, without = self._weights[stamp], tuple(self.missing(stamp))
        if without:
            answered = [name not in without for name in self.experts]
            weights = np.where(answered, weights, 0.0)
            weights = weights / weights.sum()
        actions = np.full((len(self.experts), ACTION_SIZE), np.nan)
        for i, name in enumerate(self.experts):
            if weights[i] > 0:
                actions[i, :3] = self._twists[name][stamp]
                actions[i, 3] = self._grippers[name][stamp]
                if not np.isfinite(actions[i]).all():
                    return Decision(None, f"action of expert {name!r} is not finite", stamp)
        return Decision(mix(actions, weights), stamp=stamp, source="policy", without=without)

    def _policy_decision(self, now: int) -> Decision:
        self._drop_future(now)
        newest = max(self._weights, default=None)
        if self._rejected:
            return Decision(None, self._rejected)
        if newest is None:
            return Decision(None, self._future or "no gate weights yet")
        if now - newest > self.max_age:
            fault = self._future or age_fault("gate weights", now, newest, self.max_age)
            return Decision(None, fault)
        fresh = [s for s in sorted(self._weights, reverse=True) if now - s <= self.max_age]
        for stamp in fresh:
            if not self.missing(stamp):
                return self.answer(stamp)
        for stamp in fresh:
            if self._share(self.missing(stamp), stamp) <= self.missing_share:
                return self.answer(stamp)
        missing = self.missing(newest)[0]
        return Decision(
            None, self._future or f"no action of expert {missing!r} for the latest gate weights"
        )

    def _share(self, names: Sequence[str], stamp: int) -> float:
        """Weight of some experts together."""
        return float(sum(self._weights[stamp][self.experts.index(name)] for name in names))

    def _drop_future(self, now: int) -> None:
        """Forget what is stamped in the future: it could not be told from what is new."""
        stores = [("gate weights", self._weights)]
        for kind in (self._twists, self._grippers):
            stores += [(f"actions of expert {name!r}", store) for name, store in kind.items()]
        future = ""
        for what, store in stores:
            for stamp in [stamp for stamp in store if stamp - now > _TOLERANCE]:
                future = future or age_fault(what, now, stamp, self.max_age)
                del store[stamp]
        if future:
            self._future = future
        elif self._weights and now - max(self._weights) <= self.max_age:
            self._future = ""

    def _present_operators(self, now: int) -> list[Hashable]:
        return [
            operator
            for operator, (stamp, _) in self._operators.items()
            if -_TOLERANCE <= now - stamp <= self.operator_deadline
        ]

    def _operator_decision(self, now: int, width: float) -> Decision:
        present = self._present_operators(now)
        if len(present) > 1:
            return Decision(None, f"{len(present)} operators at once")
        if not present:
            newest = max((stamp for stamp, _ in self._operators.values()), default=None)
            if newest is None:
                return Decision(None, "no operator command yet")
            fault = age_fault("operator command", now, newest, self.operator_deadline)
            return Decision(None, fault)
        stamp, velocity = self._operators[present[0]]
        opening = width if self._operator_width is None else self._operator_width
        action = np.append(velocity, opening)
        if not np.isfinite(action).all():
            return Decision(None, "operator command is not finite", stamp)
        return Decision(action, stamp=stamp, source="operator")


def _remember(store: dict[int, object], stamp: int, value: object) -> None:
    store[stamp] = value
    while len(store) > _KEPT:
        del store[min(store)]
