"""Population-based training (Jaderberg et al. 2017) on Ray.

Members train side by side. After every interval a member looks at another one, drawn at random:
where Welch's test says that the other's scores are better, the member goes on from a copy of it
(exploit), with settings that are changed a little (explore). A member's training is a function of
its state and settings alone and runs as a Ray task, on this machine or wherever in a cluster: a
worker that dies costs an interval of one member, and the driver's record of all that happened is on
disk after every interval.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError
from scipy.stats import ttest_ind

from moe_robot_control.learning.settings import TrainingError

RECORD = "population.json"
ATTEMPTS = 3
"""Workers that may die over one interval of a member before the run is given up."""


@dataclass(frozen=True)
class Work:
    """An interval of a member, as its worker gets it.

    Attributes:
        member: number of the member.
        interval: number of the interval.
        state: where to go on; None at the beginning.
        settings: that are explored.
        seed: of this interval's randomness.
    """

    member: int
    interval: int
    state: bytes | None
    settings: dict[str, float]
    seed: int


@dataclass(frozen=True)
class Progress:
    """What an interval led to.

    Attributes:
        state: where to go on.
        scores: of the latest episodes: more is better.
        figures: to be kept in the record.
    """

    state: bytes
    scores: list[float]
    figures: dict[str, Any] = field(default_factory=dict)


Train = Callable[[Work], Progress]
"""Must be picklable: it is sent to the workers."""


@dataclass(frozen=True)
class Explored:
    """How a setting is explored: by a step up or down, or by a factor; within bounds."""

    step: float = 0.0
    factor: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def explore(self, value: float, rng: np.random.Generator) -> float:
        """Another value nearby."""
        sign = 1.0 if rng.random() < 0.5 else -1.0
        return min(max(value * self.factor**sign + self.step * sign, self.low), self.high)


@dataclass(frozen=True)
class Event:
    """A member after an interval.

    Attributes:
        member, interval: numbers.
        settings: during the interval.
        score: mean of its scores.
        parent: the member whose state it goes on from: itself, unless it copied.
        figures: as the worker gave them.
    """

    member: int
    interval: int
    settings: dict[str, float]
    score: float
    parent: int
    figures: dict[str, Any]


@dataclass
class Member:
    """Where a member stands.

    Attributes:
        settings: of its next interval.
        interval: number of its next interval.
        scores: of the latest episodes of its state.
        state: file of its state, within the run's folder; empty at the beginning.
        reached: settings with which that state was reached.
    """

    settings: dict[str, float]
    interval: int = 0
    scores: list[float] = field(default_factory=list)
    state: str = ""
    reached: dict[str, float] = field(default_factory=dict)


def is_better(others: list[float], own: list[float], significance: float) -> bool:
    """Whether others' scores are better than one's own: Welch's one-sided t test.

    Scores that do not vary at all are compared as they are.
    """
    if len(others) < 2 or len(own) < 2 or (np.ptp(others) == 0.0 and np.ptp(own) == 0.0):
        return bool(np.mean(others) > np.mean(own))
    found = ttest_ind(others, own, equal_var=False, alternative="greater")
    return bool(found.pvalue < significance)


class Population:
    """A run of population-based training that can be interrupted anywhere."""

    def __init__(
        self,
        train: Train,
        settings: list[dict[str, float]],
        explored: Mapping[str, Explored],
        intervals: int,
        seed: int,
        folder: Path,
        significance: float = 0.05,
        deterministic: bool = False,
        resume: bool = False,
        address: str | None = None,
        tell: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """Prepare a run.

        Args:
            train: trains a member for an interval.
            settings: with which each member begins; as many as there are members.
            explored: the settings that are explored, and how.
            intervals: of each member.
            seed: of everything drawn.
            folder: of the record and of the members' states.
            significance: of the test by which another member counts as better.
            deterministic: members wait for one another after every interval, so that one seed
                gives one lineage; else each goes on at once, beside others of any interval.
            resume: go on from the record in `folder`.
            address: of a Ray cluster; Ray runs on this machine if None.
            tell: called after every interval of a member.

        Raises:
            TrainingError: no members; a record is there and `resume` is not set, or none is there
                and it is, or that there is another run's.
        """
        if not settings:
            raise TrainingError("a population needs members")
        self._train, self._explored, self._intervals = train, dict(explored), intervals
        self._seed, self._folder, self._significance = seed, folder, significance
        self._deterministic, self._address, self._tell = deterministic, address, tell
        self.members = [Member(dict(own)) for own in settings]
        self.lineage: list[Event] = []
        self._about = {
            "members": len(settings),
            "intervals": intervals,
            "seed": seed,
            "first": [dict(own) for own in settings],
            "deterministic": deterministic,
        }
        record = folder / RECORD
        if record.is_file() and not resume:
            raise TrainingError(f"{record} is there already: --resume goes on with it")
        if resume:
            self._load(record)

    def run(self) -> list[Event]:
        """Train all members to the end; returns every event in order.

        Raises:
            TrainingError: workers died over and over, or a worker's own error.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        started = not ray.is_initialized()
        if started:
            ray.init(
                address=self._address, include_dashboard=False, logging_level="error",
                log_to_driver=False,
            )  # fmt: skip
        try:
            if self._deterministic:
                self._in_step()
            else:
                self._at_will()
        finally:
            if started:
                ray.shutdown()
        return self.lineage

    def best(self) -> int:
        """The member with the best mean score."""
        means = [np.mean(m.scores) if m.scores else -math.inf for m in self.members]
        return int(np.argmax(means))

    def state_of(self, member: int) -> bytes | None:
        """Where a member stands; None at the beginning."""
        name = self.members[member].state
        return (self._folder / name).read_bytes() if name else None

    # -- running -----------------------------------------------------------------------------

    def _in_step(self) -> None:
        while (interval := min(m.interval for m in self.members)) < self._intervals:
            behind = [i for i, m in enumerate(self.members) if m.interval == interval]
            done = self._all_of(behind)
            for i in behind:
                self._take(i, done[i])
            # all look at all as they are now, whoever comes first
            now = [replace(member) for member in self.members]
            for i in behind:
                self._go_on(i, now, done[i])
            self._save()

    def _at_will(self) -> None:
        workers = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        running: dict[ray.ObjectRef, int] = {}
        failed = dict.fromkeys(range(len(self.members)), 0)
        while True:
            # no more at once than there are workers: Ray promises no order to those that wait
            for i in self._behind(running.values())[: workers - len(running)]:
                running[self._start(i)] = i
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            i = running.pop(ready)
            progress = self._result(ready, i, failed)
            if progress is not None:
                failed[i] = 0
                self._take(i, progress)
                self._go_on(i, [replace(member) for member in self.members], progress)
                self._save()

    def _behind(self, running: Collection[int]) -> list[int]:
        """Members that are to go on and do not, those of the earliest interval first."""
        left = [
            i
            for i, member in enumerate(self.members)
            if member.interval < self._intervals and i not in running
        ]
        return sorted(left, key=lambda i: self.members[i].interval)

    def _all_of(self, waiting: list[int]) -> dict[int, Progress]:
        running = {self._start(i): i for i in waiting}
        failed = dict.fromkeys(waiting, 0)
        done: dict[int, Progress] = {}
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            i = running.pop(ready)
            progress = self._result(ready, i, failed)
            if progress is None:
                running[self._start(i)] = i
            else:
                done[i] = progress
        return done

    def _start(self, i: int) -> ray.ObjectRef:
        member = self.members[i]
        seed = int(np.random.default_rng([self._seed, i, member.interval]).integers(2**31))
        work = Work(i, member.interval, self.state_of(i), dict(member.settings), seed)
        # a worker that dies is told of here, and its interval is given to another
        return ray.remote(num_cpus=1, max_retries=0)(_train_by).remote(self._train, work)

    def _result(self, ready: ray.ObjectRef, i: int, failed: dict[int, int]) -> Progress | None:
        try:
            return ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise TrainingError(f"member {i}: {error.cause!r}") from error
        except RayError as error:
            failed[i] += 1
            if failed[i] >= ATTEMPTS:
                raise TrainingError(f"member {i}: {failed[i]} workers died: {error}") from error
            return None

    # -- exploit and explore -----------------------------------------------------------------

    def _take(self, i: int, progress: Progress) -> None:
        """Keep what an interval led to."""
        member = self.members[i]
        member.state = f"member_{i}_{member.interval}.pt"
        _write(self._folder / member.state, progress.state)
        member.scores = progress.scores
        member.reached = dict(member.settings)

    def _go_on(self, i: int, now: list[Member], progress: Progress) -> None:
        """Say from whom and with which settings a member goes on, and note what was."""
        member, parent = self.members[i], self._parent(i, now)
        score = float(np.mean(progress.scores))
        event = Event(i, member.interval, member.reached, score, parent, progress.figures)
        if parent != i:
            other, rng = now[parent], self._rng(i, 2)
            member.state, member.scores = other.state, other.scores
            member.settings = dict(other.reached)
            for name, how in self._explored.items():
                member.settings[name] = how.explore(member.settings[name], rng)
            member.reached = other.reached
        member.interval += 1
        self.lineage.append(event)
        self._tell(event)

    def _parent(self, i: int, now: list[Member]) -> int:
        """Whom a member goes on from: itself, or another one that is better."""
        others = [j for j in range(len(now)) if j != i]
        if not others:
            return i
        other = int(self._rng(i, 1).choice(others))
        theirs, own = now[other].scores, now[i].scores
        return other if theirs and is_better(theirs, own, self._significance) else i

    def _rng(self, i: int, use: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, i, self.members[i].interval, use])

    # -- on disk -----------------------------------------------------------------------------

    def _save(self) -> None:
        tree = {
            "about": self._about,
            "members": [asdict(member) for member in self.members],
            "lineage": [asdict(event) for event in self.lineage],
        }
        _write(self._folder / RECORD, json.dumps(tree, indent=1).encode())
        kept = {member.state for member in self.members}
        for path in self._folder.glob("member_*_*.pt"):
            if path.name not in kept:
                path.unlink()

    def _load(self, record: Path) -> None:
        try:
            tree = json.loads(record.read_text())
            members = [Member(**member) for member in tree["members"]]
            lineage = [Event(**event) for event in tree["lineage"]]
        except FileNotFoundError as error:
            raise TrainingError(f"{record}: no such file, nothing to resume") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{record}: not a readable record; delete its folder") from error
        if tree["about"] != self._about:
            raise TrainingError(f"{record}: of a run with other settings")
        for member in members:
            if member.state and not (self._folder / member.state).is_file():
                raise TrainingError(f"{self._folder / member.state}: missing; delete the folder")
        self.members, self.lineage = members, lineage


def _train_by(train: Train, work: Work) -> Progress:
    return train(work)


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)
