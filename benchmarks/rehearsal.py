"""Measures what the rehearsal arm shows: success of the trained graph, endurance, straightness.

    python benchmarks/rehearsal.py success --scenario 7 --episodes 20
    python benchmarks/rehearsal.py tracking
    python benchmarks/rehearsal.py endurance --minutes 10

Each writes its section of docs/results/safety.md, unless --no-page is given.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from tqdm import tqdm

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.evaluation.report import print_table, stopped_at, summarise, wilson
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, CONTROL_PERIOD, NUM_SCENARIOS
from safety.episodes import on_bridge, on_rehearsal_arm
from safety.hardware import Imperfections
from safety.policies import write_policies
from safety.report import table, write_section
from safety.rig import COMMANDER, Rig
from safety.tracking import SPEED, Line, drive_lines

NEEDED_SHARE = 0.8
"""Of the bridge's successes."""
COMPUTE_LIMIT = 2.0
"""Of the commander's 99th percentile of time for a tick [ms]."""
LATERAL_LIMIT, TURN_LIMIT = 0.005, np.deg2rad(3.0)
"""Of every straight line: root mean square distance [m] and turn [rad]."""
GROWTH_LIMIT = 2.0
"""Of the commander's memory, from the second quarter to the last [MB]."""


# -- success -------------------------------------------------------------------------------------


def success(arguments: argparse.Namespace) -> int:
    """Compare success on the rehearsal arm with that in the plain bridge, on the same seeds."""
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    tasks = [(scenario, seed) for scenario in arguments.scenario or [7] for seed in seeds]
    with tqdm(total=2 * len(tasks), unit="episode", disable=None) as bar:

        def on_result(outcome: Outcome) -> None:
            bar.write(f"{outcome.seed}: {outcome.state}, {outcome.stages_done} skills done")
            bar.update()

        bar.set_description("rehearsal arm")
        pairs = on_rehearsal_arm(tasks, on_result)
        bar.set_description("bridge")
        bridge = on_bridge(tasks, on_result)
    rehearsed = [outcome for outcome, _ in pairs]
    for title, outcomes in (("On the rehearsal arm", rehearsed), ("In the bridge", bridge)):
        print_table(summarise(outcomes), title, Console())
    violations: Counter[str] = Counter()
    for _, limits in pairs:
        violations.update(limits["violations"])
    print("limits broken on the rehearsal arm:", dict(violations) or "none")
    good, plain = (sum(outcome.success for outcome in some) for some in (rehearsed, bridge))
    if not arguments.no_page:
        keys = [field.name for field in fields(Outcome)]
        figures = {
            where: [{key: getattr(outcome, key) for key in keys} for outcome in some]
            for where, some in (("rehearsal arm", rehearsed), ("bridge", bridge))
        } | {"violations": dict(violations)}
        text = _success_text(rehearsed, bridge, violations)
        write_section("success", "Success on the rehearsal arm", text, figures)
    return 0 if good >= NEEDED_SHARE * plain and not violations else 1


def _success_text(
    rehearsed: Sequence[Outcome], bridge: Sequence[Outcome], violations: Counter[str]
) -> str:
    standard = Imperfections()
    rows = []
    for where, outcomes in (("rehearsal arm", rehearsed), ("bridge", bridge)):
        for row in summarise(outcomes):
            stops = Counter(stopped_at(o) for o in outcomes if not o.success and _is(o, row.task))
            low, high = wilson(row.success, row.episodes)
            rows.append(
                [
                    row.task,
                    where,
                    f"{row.seeds[0]}-{row.seeds[1]}",
                    f"{row.success}/{row.episodes}",
                    f"{low:.0%}-{high:.0%}",
                    f"{row.skills_done:.1f}/{row.skills_total}",
                    "-" if row.time is None else f"{row.time:.1f}",
                    ", ".join(f"{skill} {count}" for skill, count in stops.items()) or "-",
                ]
            )
    good, plain = (sum(outcome.success for outcome in some) for some in (rehearsed, bridge))
    ratio = f"{good / plain:.0%} of the bridge's successes" if plain else "the bridge had none"
    broken = ", ".join(f"{name} {count}" for name, count in violations.items()) or "none"
    return (
        f"The trained graph from camera images, in real time, one process a node: {ratio}. The "
        f"rehearsal arm has drives that lag by {standard.lag * 1e3:.0f} ms, commands that are "
        f"{standard.latency * 1e3:.0f} to {(standard.latency + standard.jitter) * 1e3:.0f} ms "
        f"late, {standard.loss:.0%} of the packets lost each way, and noisy encoders. Limits "
        f"broken on it: {broken}.\n\n"
    ) + table(
        [
            "task",
            "arm",
            "seeds",
            "success",
            "95% interval",
            "skills done",
            "time [s]",
            "stopped at",
        ],
        rows,
    )


def _is(outcome: Outcome, task: str) -> bool:
    return task == f"scenario {outcome.scenario}"


# -- endurance -----------------------------------------------------------------------------------


@dataclass
class Endurance:
    """What was seen of the commander and of the arm.

    Attributes:
        minutes: of random operation.
        ticks: commands sent.
        rate: of commands [Hz].
        longest_gap: between two commands [s].
        moving: share of the commands that moved the arm.
        violations, extremes: as the arm saw them.
        compute_p99: 99th percentile of a tick's processor time, the worst of all windows that the
            commander tells of [ms].
        compute_median: median of all windows [ms].
        elapsed_median: the same of the time that passed, other processes' share included [ms].
        plain_p50, plain_p99: of a step of `control.Commander` alone [ms].
        memory: resident memory of the commander [MB] at the end of each quarter.
        growth: from the median of the second quarter to that of the last [MB].
        reasons: how often the commander said what.
    """

    minutes: float
    ticks: int
    rate: float
    longest_gap: float
    moving: float
    violations: dict[str, int]
    extremes: dict[str, float]
    compute_p99: float | None
    compute_median: float | None
    elapsed_median: float | None
    plain_p50: float
    plain_p99: float
    memory: list[float]
    growth: float
    reasons: dict[str, int]

    @property
    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = [f"{limit} broken" for limit in self.violations]
        if self.rate < 95.0:
            found.append(f"only {self.rate:.1f} commands a second")
        if self.moving < 0.5:
            found.append(f"only {self.moving:.0%} of the commands were motion")
        if self.growth > GROWTH_LIMIT:
            found.append(f"memory grew by {self.growth:.1f} MB")
        p99 = self.plain_p99 if self.compute_p99 is None else self.compute_median
        if p99 > COMPUTE_LIMIT:
            found.append(f"p99 of compute is {p99:.2f} ms")
        return found


def endurance(arguments: argparse.Namespace) -> int:
    """Operate the arm at random, and see whether limits, time and memory hold."""
    plain = plain_compute()
    random = (["-m", "safety.random_operation"], {"seed": arguments.seed})
    with tempfile.TemporaryDirectory() as folder, reserved_domain() as domain:
        write_policies(Path(folder))
        rig = Rig(
            domain,
            Path(folder),
            relayed=False,
            operators=0,
            arm={"furniture": False},
            experts=(),
            gate=False,
            more={"random_operation": random},
        )
        with rig:
            result = _endure(rig, 60.0 * arguments.minutes, plain)
    for line in rig.output.getvalue().splitlines():
        if "limit broken" in line:
            print(line)
    for key, value in asdict(result).items():
        print(f"{key}: {value}")
    problems = result.problems
    if not arguments.no_page:
        text = _endurance_text(result, problems)
        write_section("endurance", "Random operation", text, asdict(result))
    if problems:
        print(f"rehearsal: {'; '.join(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _endure(rig: Rig, seconds: float, plain: tuple[float, float]) -> Endurance:
    rig.until_moving(0)
    rig.trigger("rehearsal_arm/clear")
    rig.drain()
    rig.forget()
    began = time.monotonic()
    memory: list[float] = []
    ticks = moving = 0
    longest, last = 0, None
    reasons: Counter[str] = Counter()
    windows: dict[str, list[float]] = {"compute": [], "elapsed": []}
    with tqdm(total=round(seconds), unit="s", disable=None) as bar:
        while (passed := time.monotonic() - began) < seconds:
            rig.watch(1.0)
            memory.append(resident(rig.processes.pid(COMMANDER)))
            for command in rig.commands:
                ticks += 1
                moving += command.moves
                longest = longest if last is None else max(longest, command.sent - last)
                last = command.sent
            for diagnosis in rig.diagnoses:
                reasons[diagnosis.message.partition(":")[2].partition(":")[0].strip()] += 1
                for kind, values in windows.items():
                    if (value := diagnosis.values.get(f"{kind} p99 [ms]")) is not None:
                        values.append(float(value))
            rig.forget()
            bar.update(round(time.monotonic() - began) - bar.n)
    limits = rig.new_limits()
    quarters = np.array_split(memory, 4)
    return Endurance(
        minutes=passed / 60,
        ticks=ticks,
        rate=ticks / passed,
        longest_gap=longest * 1e-9,
        moving=moving / max(ticks, 1),
        violations=limits["violations"],
        extremes=limits["extremes"],
        compute_p99=max(windows["compute"], default=None),
        compute_median=_median(windows["compute"]),
        elapsed_median=_median(windows["elapsed"]),
        plain_p50=plain[0],
        plain_p99=plain[1],
        memory=[float(quarter[-1]) if len(quarter) else float("nan") for quarter in quarters],
        growth=float(np.median(quarters[3]) - np.median(quarters[1])),
        reasons=dict(reasons.most_common(12)),
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def plain_compute(ticks: int = 3000) -> tuple[float, float]:
    """Median and 99th percentile of a step of the plain commander [ms of processor time]."""
    arm, rng = ArmConfig.load(), np.random.default_rng(0)
    commander = Commander(arm)
    q, times = arm.home.copy(), []
    for i in range(ticks):
        if i % 20 == 0:
            action = rng.uniform(ACTION_LOW, ACTION_HIGH)
        begin = time.thread_time()
        velocity, _ = commander.step(q[None], action[None])
        times.append(time.thread_time() - begin)
        q = q + CONTROL_PERIOD * velocity[0]
    return tuple(float(x) * 1e3 for x in np.percentile(times, [50, 99]))


def resident(pid: int) -> float:
    """Resident memory of a process [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _endurance_text(result: Endurance, problems: Sequence[str]) -> str:
    def number(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    extremes = result.extremes
    plain = f"{result.plain_p50:.2f}, {result.plain_p99:.2f}"
    rows: list[list[Any]] = [
        ["commands", f"{result.ticks} at {result.rate:.1f} Hz, {result.moving:.0%} of them motion"],
        ["limits broken", ", ".join(result.violations) or "none"],
        ["largest commanded velocity, share of its limit", number(extremes["command_velocity"])],
        ["largest acceleration, share", number(extremes["command_acceleration"])],
        ["largest jerk, share", number(extremes["command_jerk"])],
        ["nearest to a joint's limit [rad]", number(extremes["joint_margin"])],
        ["farthest outside of the workspace [mm]", number(extremes["outside"] * 1e3, 1)],
        ["deepest contact with table or itself [mm]", number(extremes["depth"] * 1e3, 1)],
        ["p99 of a tick's processor time, median of windows [ms]", number(result.compute_median)],
        ["the same, worst window [ms]", number(result.compute_p99)],
        ["p99 of a tick's time, median of windows [ms]", number(result.elapsed_median)],
        ["p50, p99 of processor time of the plain class [ms]", plain],
        ["longest time between commands [ms]", number(result.longest_gap * 1e3, 0)],
        ["memory at each quarter's end [MB]", ", ".join(number(m, 1) for m in result.memory)],
        ["growth of memory [MB]", number(result.growth)],
    ]  # fmt: skip
    verdict = "All as it must be." if not problems else "Not as it must be: " + "; ".join(problems)
    return (
        f"{result.minutes:.0f} min of random weights, actions, operators, silences and garbage on "
        f"the rehearsal arm. {verdict}\n\n"
    ) + table(["", ""], rows)


# -- tracking ------------------------------------------------------------------------------------


def tracking(arguments: argparse.Namespace) -> int:
    """Drive straight lines with each arm, and see how straight and how upright."""
    arms = arguments.arm or ["panda"]
    driven = {arm: drive_lines(arm, arguments.lines, seed=arguments.seed) for arm in arms}
    rows = [_line_row(arm, lines) for arm, lines in driven.items()]
    heads = [
        "arm",
        "lines",
        "lengths [m]",
        "lateral RMS, all [mm]",
        "worst line [mm]",
        "largest turn of the tip [deg]",
        "speed [m/s]",
    ]
    text = table(heads, rows)
    print(text)
    lines = [line for some in driven.values() for line in some]
    good = all(line.lateral <= LATERAL_LIMIT and line.turned <= TURN_LIMIT for line in lines)
    if not arguments.no_page:
        intro = (
            f"Between points drawn in the workspace the tip is wished to go at {SPEED:g} m/s, "
            "without any correction of its position, on the rehearsal arm's drives (lag, latency, "
            f"jitter, losses, noise). Allowed: {LATERAL_LIMIT * 1e3:g} mm RMS from the straight "
            f"line and {np.rad2deg(TURN_LIMIT):.0f} degrees from the held orientation, on every "
            "line.\n\n"
        )
        figures = {arm: [asdict(line) for line in some] for arm, some in driven.items()}
        write_section("tracking", "Straight lines", intro + text, figures)
    return 0 if good else 1


def _line_row(arm: str, lines: Sequence[Line]) -> list[Any]:
    lateral, lengths = ([getattr(x, name) for x in lines] for name in ("lateral", "length"))
    speeds = [line.speed for line in lines]
    return [
        arm,
        len(lines),
        f"{min(lengths):.2f} to {max(lengths):.2f}",
        f"{1e3 * np.sqrt(np.mean(np.square(lateral))):.2f}",
        f"{1e3 * max(lateral):.2f}",
        f"{np.rad2deg(max(line.turned for line in lines)):.2f}",
        f"{min(speeds):.3f} to {max(speeds):.3f}",
    ]


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("success", help="scenarios on the rehearsal arm and in the bridge")
    scenarios = range(1, NUM_SCENARIOS + 1)
    one.add_argument("--scenario", type=int, action="append", choices=scenarios, help="7 if none")
    one.add_argument("--episodes", type=int, default=20, help="of each scenario")
    one.add_argument("--seed", type=int, default=100, help="of the first episode of each")
    two = commands.add_parser("endurance", help="random operation")
    two.add_argument("--minutes", type=float, default=10.0, help="how long")
    two.add_argument("--seed", type=int, default=0, help="of everything drawn")
    three = commands.add_parser("tracking", help="straight lines")
    three.add_argument("--lines", type=int, default=50, help="of each arm")
    three.add_argument("--arm", action="append", help="that can be simulated; panda if none")
    three.add_argument("--seed", type=int, default=0, help="of everything drawn")
    for command in (one, two, three):
        command.add_argument("--no-page", action="store_true", help="do not write the page")
    arguments = parser.parse_args()
    does = {"success": success, "endurance": endurance, "tracking": tracking}
    return does[arguments.what](arguments)


if __name__ == "__main__":
    sys.exit(main())
