"""Is a tick missed, or a limit broken, while an expert's policy is replaced over and over?

    python benchmarks/hot_swap.py                 # 1,000 swaps; some two minutes
    python benchmarks/hot_swap.py --swaps 50 --no-page

Writes its section of docs/results/safety.md, unless --no-page is given.

The real graph on a rehearsal arm, one process a node, with observations at 100 Hz. Two policies
that move the tip round in circles, one to the left, one to the right, take turns as the expert of
the largest weight: the next file is written as soon as the last one acts. Every observation that
reaches the expert must be answered, every tick of the commander must send its command, and the
arm must see no limit broken, though what is wanted jumps at every swap. Then the same time
without swaps.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from std_msgs.msg import String
from tqdm import tqdm

from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.policies.runtime import load_expert
from moe_robot_control.policies.spaces import CONTROL_PERIOD
from safety.policies import HEAVY, TURN_RATE, WEIGHTS, write_policies
from safety.report import table, write_section
from safety.rig import ARM, Rig

MISSED = 2.0 * CONTROL_PERIOD
"""A longer time between two commands is a tick without one [s]."""
_TURNS = ("left", "right")
"""Of the two policies."""


@dataclass
class Seen:
    """What was seen of the graph for a while.

    Attributes:
        swaps: policies that began to act.
        seconds: that it lasted.
        observations: made.
        asked: those that reached the swapped expert together with a weight. The middleware loses a
            message of a sensor or of the gate now and then (they are sent best-effort).
        unanswered: by that expert, of these.
        answer_p50, answer_p99, answer_max: time from an observation to its answer [ms].
        commands: sent to the arm.
        missed: ticks without a command.
        longest_gap: between two commands [ms].
        acceleration: largest commanded one, as share of its limit.
        violations: limits that the arm saw broken.
    """

    swaps: int
    seconds: float
    observations: int
    asked: int
    unanswered: int
    answer_p50: float
    answer_p99: float
    answer_max: float
    commands: int
    missed: int
    longest_gap: float
    acceleration: float
    violations: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether nothing was missed and no limit broken."""
        return not (self.unanswered or self.missed or self.violations)


class Swaps:
    """A rig whose expert of the largest weight is swapped."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        """Listen to its versions; the policies' files are in `folder`, with both directions."""
        self._rig, self._folder = rig, folder
        self._acting = ""
        self._counts: dict[str, int] = {}
        self._versions = {turn: load_expert(HEAVY, folder / turn).version for turn in _TURNS}
        rig.node.create_subscription(String, f"{HEAVY}/version", self._on_version, LATCHED)
        rig.node.create_subscription(String, f"{HEAVY}/counts", self._on_counts, LATCHED)
        rig.until(lambda: self._acting and self._counts, "version")

    def _on_version(self, message: String) -> None:
        self._acting = json.loads(message.data)[HEAVY]

    def _on_counts(self, message: String) -> None:
        self._counts = json.loads(message.data)

    def swap(self, turn: str) -> None:
        """Put a policy in the place of the acting one, and wait until it acts."""
        path = self._folder / f"{HEAVY}.onnx"
        shutil.copy(self._folder / turn / path.name, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
        self._rig.trigger(f"{HEAVY}/reload")
        self._rig.until(lambda: self._acting == self._versions[turn], "new policy")

    def watch(self, count: int, seconds: float = 0.0) -> Seen:
        """Swap so often, or without swaps watch for so many seconds; says what was seen."""
        rig = self._rig
        rig.trigger(f"{ARM}/clear")
        rig.drain()
        rig.forget()
        rig.pause(1)
        before, begin = self._counts, rig.commands[0].sent
        for number in tqdm(range(count), unit="swap", disable=None):
            self.swap(_TURNS[number % 2])
        if not count:
            rig.watch(seconds)
        rig.pause(1)
        limits = rig.new_limits()
        sent = np.array([command.sent for command in rig.commands])
        gaps = np.diff(sent) * 1e-9
        seen = {h.stamp for h in rig.heard["visible"] if begin <= h.stamp <= sent[-1]}
        answers = {h.stamp: (h.sent - h.stamp) * 1e-6 for h in rig.heard["twist"]}
        delays = [answers[stamp] for stamp in seen if stamp in answers] or [np.nan]
        median, p99 = np.percentile(delays, [50, 99])
        return Seen(
            swaps=count,
            seconds=float(sent[-1] - begin) * 1e-9,
            observations=len(seen),
            asked=self._counts["asked"] - before["asked"],
            unanswered=self._counts["unanswered"] - before["unanswered"],
            answer_p50=float(median),
            answer_p99=float(p99),
            answer_max=float(max(delays)),
            commands=len(sent),
            missed=int(np.sum(gaps > MISSED)),
            longest_gap=float(gaps.max()) * 1e3,
            acceleration=limits["extremes"]["command_acceleration"],
            violations=limits["violations"],
        )


def main() -> int:
    """Swap; 0 if nothing was missed and no limit broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--no-page", action="store_true", help="do not write the page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, reserved_domain() as domain:
        folder = Path(name)
        for turn, rate in zip(_TURNS, (TURN_RATE, -TURN_RATE), strict=True):
            (folder / turn).mkdir()
            write_policies(folder / turn, rate)
        for path in (folder / _TURNS[1]).iterdir():
            shutil.copy(path, folder)
        arm: dict[str, Any] = {"furniture": False, "loss": 0.0, "frame_ticks": 1}
        options = {"arm": arm, "experts": tuple(set(WEIGHTS) - {HEAVY})}
        parameters = {"skill": HEAVY, "model_directory": str(folder)}
        counted = {HEAVY: (["-m", "safety.counted_expert"], parameters)}
        with Rig(domain, folder, relayed=False, operators=0, more=counted, **options) as rig:
            rig.until_moving(0, 100)
            swaps = Swaps(rig, folder)
            swapped = swaps.watch(arguments.swaps)
            still = swaps.watch(0, swapped.seconds)
    text = _table(still, swapped)
    print(text)
    if not arguments.no_page:
        figures = {"without swaps": asdict(still), "with swaps": asdict(swapped)}
        title = "Swapping policies while they act"
        write_section("hot_swap", title, _words(swapped) + text, figures)
    return 0 if swapped.good else 1


def _table(still: Seen, swapped: Seen) -> str:
    names = {
        "swaps": "policies swapped in",
        "seconds": "lasted [s]",
        "observations": "observations",
        "asked": "of them reached the swapped expert, with a weight",
        "unanswered": "of these unanswered by the swapped expert",
        "answer_p50": "observation to answer, median [ms]",
        "answer_p99": "the same, 99th percentile [ms]",
        "answer_max": "the same, longest [ms]",
        "commands": "commands to the arm",
        "missed": "ticks without one",
        "longest_gap": "longest time between commands [ms]",
        "acceleration": "largest commanded acceleration, share of its limit",
        "violations": "limits that the arm saw broken",
    }

    def text(value: Any) -> str:
        return f"{value:.2f}" if isinstance(value, float) else str(value or 0)

    rows = [
        [title, text(getattr(still, name)), text(getattr(swapped, name))]
        for name, title in names.items()
    ]
    return table(["", "without swaps", "with swaps"], rows)


def _words(swapped: Seen) -> str:
    verdict = "Nothing missed, no limit broken." if swapped.good else "Not as it must be."
    return (
        "The graph on the rehearsal arm, one process a node, observations and commands at 100 Hz. "
        "Two policies that turn the tip round in opposite directions take turns as the expert of "
        f"the largest weight, each as soon as the last one acts. {verdict} Sensors' messages and "
        "weights are sent best-effort: what is lost on the way, with swaps or without, no expert "
        "can answer.\n\n"
    )


if __name__ == "__main__":
    sys.exit(main())
