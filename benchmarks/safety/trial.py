"""One fault after another, each measured and judged the same way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from safety.records import RESTING, Command, Heard, first_run
from safety.rig import ARM, COMMANDER, Rig, RigError

LIMIT = 0.15
"""Longest time from when a fault could be known to zero velocity [s]."""
STEADY = 200
"""Commands of motion in a row by which a second arm counts as under way."""
RECOVERY = 3.0
"""Longest time from when a fault is over, and all nodes run, to motion [s]."""
HOLD = 30
"""Commands for which the fault lasts on after the arm has come to rest."""
GOES_ON_FOR = 120
"""Commands for which the arm must go on in spite of a fault."""
DRIVER_TIMEOUT = 0.1
"""After which the arm brakes by itself [s]."""

STOPS, GOES_ON, EITHER = "stops", "goes on", "stays within limits"
"""What a case may ask for."""

Act = Callable[[Rig], Any]
Detectable = Callable[["Trial"], int]


@dataclass(frozen=True)
class Case:
    """A fault, and what must come of it.

    Attributes:
        name: for `--case`.
        injected: what is done, in plain words.
        begin, end: begin and end the fault.
        detectable: when it could be known [ns, wall clock].
        reason: what the commander's diagnostics must match; empty: it has nothing to say.
        expected: one of `STOPS`, `GOES_ON`, `EITHER`; or decided by the rig's parameters.
        prepare: makes the arm move in another way than by its policies.
        rig: name of the rig.
        by_arm: rest is what the arm measures, as nobody commands it.
        after_end: what is asked of the arm between the fault's end and its motion.
    """

    name: str
    injected: str
    begin: Act
    end: Act
    detectable: Detectable
    reason: str = ""
    expected: str | Callable[[Rig], str] = STOPS
    prepare: Act = lambda rig: None
    rig: str = "policies"
    by_arm: bool = False
    after_end: Act = lambda rig: None


@dataclass
class Result:
    """What came of a case. Times in seconds; None where there is none.

    Attributes:
        name, injected: of the case.
        expected: what was asked for.
        from_detectable: from when the fault could be known to zero velocity.
        from_injection: from its beginning.
        violations: limits that the arm saw broken, and how often.
        extremes: what it saw of commands and motion.
        reason: what the commander said.
        recovery: from the fault's end to motion.
        longest_gap: between two commands.
        problems: why the case has not passed.
    """

    name: str
    injected: str
    expected: str
    from_detectable: float | None = None
    from_injection: float | None = None
    violations: dict[str, int] = field(default_factory=dict)
    extremes: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    recovery: float | None = None
    longest_gap: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all was as it must be."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Trial:
    """A case under way.

    Attributes:
        rig: on which.
        injected: when the fault began [ns].
        still: when the arm had come to rest [ns].
    """

    rig: Rig
    injected: int = 0
    still: int = 0

    # -- when a fault could be known ---------------------------------------------------------

    def outlived(self, route: str, age: float) -> int:
        """When the last message on a route that came in time grew older than `age` [s]."""
        allowed = round(age * 1e9)
        deadlines = [
            heard.stamp + allowed
            for heard in self._before(self.rig.heard[route])
            if heard.sent <= heard.stamp + allowed
        ]
        # what is stamped in the future has no say in it
        return max((d for d in deadlines if d <= self.still + allowed), default=self.injected)

    def _before(self, messages: list[Heard]) -> list[Heard]:
        return [heard for heard in messages if heard.sent <= self.still]


def run(case: Case, rig: Rig, limit: float = LIMIT) -> Result:
    """Try a case, and leave the rig as it was.

    Args:
        case: what to try.
        rig: on which.
        limit: longest time from when a fault could be known to zero velocity [s].
    """
    result = Result(case.name, case.injected, STOPS)
    try:
        result.expected = case.expected(rig) if callable(case.expected) else case.expected
        _try(case, rig, result, limit)
    except RigError as error:
        result.problems.append(str(error))
    try:
        rig.mend()
    except RigError as error:
        result.problems.append(f"afterwards: {error}")
    return result


def _try(case: Case, rig: Rig, result: Result, limit: float) -> None:
    case.prepare(rig)
    if rig.other is not None:
        # whose nodes may still be starting
        rig.other.until_moving(time.time_ns(), STEADY)
    rig.until_moving(time.time_ns(), 20)
    for one in (rig, rig.other):
        if one is not None:
            one.trigger(f"{ARM}/clear")
            one.drain()
            one.forget()
    rig.pause(1)
    trial = Trial(rig, injected=time.time_ns())
    case.begin(rig)
    if result.expected == STOPS:
        _await_rest(case, trial, result, limit)
    else:
        _go_on(trial, result)
    if case.reason:
        _ask_why(case, trial, result)
    ended = time.time_ns()
    case.end(rig)
    case.after_end(rig)
    over = time.time_ns()
    if result.expected == STOPS:
        moving = rig.until_moving(ended)
        result.recovery = (moving - ended) * 1e-9
        if moving - over > RECOVERY * 1e9:
            result.problems.append(f"{result.recovery:.1f} s to motion again")
    else:
        rig.until_moving(over, 20)
    limits = rig.new_limits()
    result.violations, result.extremes = limits["violations"], limits["extremes"]
    result.problems += [f"{limit} broken" for limit in result.violations]
    sent = [command.sent for command in rig.commands]
    gaps = [(b - a) * 1e-9 for a, b in itertools.pairwise(sent)]
    result.longest_gap = max(gaps, default=None)


def _await_rest(case: Case, trial: Trial, result: Result, limit: float) -> None:
    rig = trial.rig
    if case.by_arm:
        trial.still = rig.until(lambda: first_rest(rig.measured, trial.injected), "rest", 5.0)
    else:
        trial.still = rig.until_still(trial.injected)
        rig.pause(HOLD)
        if any(command.moves for command in rig.commands if command.sent > trial.still):
            result.problems.append("did not stay at rest")
    known = case.detectable(trial)
    result.from_detectable = max((trial.still - known) * 1e-9, 0.0)
    result.from_injection = (trial.still - trial.injected) * 1e-9
    if result.from_detectable > limit:
        result.problems.append(f"{result.from_detectable * 1e3:.0f} ms to zero velocity")


def _go_on(trial: Trial, result: Result) -> None:
    rig = trial.rig
    rig.pause(GOES_ON_FOR)
    stood = any(not command.moves for command in rig.commands if command.sent > trial.injected)
    if stood and result.expected == GOES_ON:
        result.problems.append("came to rest")
    if rig.diagnoses:
        result.reason = rig.diagnoses[-1].message


def _ask_why(case: Case, trial: Trial, result: Result) -> None:
    try:
        result.reason = trial.rig.until_reason(case.reason, trial.injected)
    except RigError:
        said = [d.message for d in trial.rig.diagnoses if d.heard >= trial.injected]
        result.reason = said[-1] if said else ""
        result.problems.append(f"diagnostics do not match {case.reason!r}")


def first_rest(measured: list[Command], since: int, count: int = 10) -> int | None:
    """When the first of `count` measurements of an arm at rest after `since` was sent."""
    slow = [Command(m.sent, 0.0 if m.speed < RESTING else m.speed) for m in measured]
    return first_run(slow, since, False, count)


def commander_parameter(rig: Rig, name: str) -> float:
    """Value of a number among the commander's parameters."""
    values = rig.get(COMMANDER, name)
    if not values:
        raise RigError(f"the commander has no parameter {name!r}")
    return float(values[0])
