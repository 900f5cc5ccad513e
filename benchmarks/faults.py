"""Tries every fault on the real graph, over DDS, with an arm that behaves like a real one.

    python benchmarks/faults.py                     # all, and docs/results/safety.md
    python benchmarks/faults.py --list
    python benchmarks/faults.py --case kill_gate --case stop_by_topic

It ends with status 0 if every case has passed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from moe_robot_control.nodes.domain import reserved_domain
from safety.cases import all_cases
from safety.policies import WEIGHTS, write_policies
from safety.report import table, write_section
from safety.rig import Rig
from safety.trial import LIMIT, Case, Result, run

RIGS = ("policies", "cameras", "two_arms")
_HEAD = (
    "case",
    "injected",
    "asked for",
    "from detectable [ms]",
    "from injection [ms]",
    "limits",
    "diagnostics",
    "motion again after [s]",
    "passed",
)
_EXPLANATION = f"""Every node is a process of its own; the arm lags, is noisy and loses 1% of its
packets. Policies with a known motion, or an operator, move it. *From detectable*: from when the
fault could be known, which is the arrival of the bad message, or else the instant at which the
last good one grew older than its deadline, to the first command of zero velocity (for a commander
that is dead: to rest as the arm measures it, from when the driver's own timeout of 0.1 s had
passed). At most {LIMIT * 1e3:.0f} ms are allowed. *Limits*: what the arm itself saw of velocities,
accelerations, jerk, positions, workspace and contacts. Where a fault may be borne, the arm must go
on, or may come to rest, but never break a limit."""


@contextmanager
def rig_of(name: str, domain: int, policies: Path) -> Iterator[Rig]:
    """A running rig."""
    with ExitStack() as stack:
        if name == "two_arms":
            plain = {"relayed": False, "operators": 0, "experts": tuple(WEIGHTS)}
            plain["arm"] = {"furniture": False}
            arms = [
                stack.enter_context(Rig(domain, policies, namespace=side, **plain))
                for side in ("left", "right")
            ]
            arms[0].other = arms[1]
            yield arms[0]
        else:
            yield stack.enter_context(Rig(domain, policies, cameras=name == "cameras"))


def try_all(cases: Sequence[Case], verbose: bool = False) -> list[Result]:
    """Try cases, rig by rig."""
    results = []
    with (
        tempfile.TemporaryDirectory() as folder,
        reserved_domain() as domain,
        tqdm(total=len(cases), unit="case", disable=None) as bar,
    ):
        write_policies(Path(folder))
        for name in RIGS:
            some = [case for case in cases if case.rig == name]
            if not some:
                continue
            bar.set_description(f"start {name}")
            with rig_of(name, domain, Path(folder)) as rig:
                for case in some:
                    bar.set_description(case.name)
                    result = run(case, rig)
                    results.append(result)
                    bar.update()
                    if not result.passed:
                        bar.write(f"{case.name}: {'; '.join(result.problems)}")
                    if verbose:
                        bar.write(str(result))
                if verbose:
                    bar.write(rig.output.getvalue())
    return results


def show(results: Sequence[Result]) -> None:
    """Print a table."""
    shown = Table(*(_HEAD[0], *_HEAD[2:]))
    for row in map(_row, results):
        shown.add_row(row[0], *row[2:])
    Console().print(shown)


def write(results: Sequence[Result], seconds: float) -> None:
    """Write the page's section."""
    passed = sum(result.passed for result in results)
    stops = [result.from_detectable for result in results if result.from_detectable is not None]
    summary = f"{passed} of {len(results)} cases passed in {seconds / 60:.0f} min."
    if stops:
        summary += f" Longest time to zero velocity: {max(stops) * 1e3:.0f} ms."
    text = f"{summary}\n\n{_EXPLANATION}\n\n" + table(_HEAD, [_row(result) for result in results])
    write_section("faults", "Faults", text, [result.as_dict() for result in results])


def _row(result: Result) -> list[str]:
    def milliseconds(value: float | None) -> str:
        return "-" if value is None else f"{value * 1e3:.0f}"

    return [
        result.name,
        result.injected,
        result.expected,
        milliseconds(result.from_detectable),
        milliseconds(result.from_injection),
        ", ".join(result.violations) or "held",
        result.reason or "-",
        "-" if result.recovery is None else f"{result.recovery:.2f}",
        "yes" if result.passed else "no: " + "; ".join(result.problems),
    ]


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--rig", choices=RIGS, help="only the cases of this rig")
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    parser.add_argument("--verbose", action="store_true", help="show what the nodes say")
    arguments = parser.parse_args()
    cases = all_cases()
    names = [case.name for case in cases]
    for name in arguments.case or []:
        if name not in names:
            parser.error(f"no case {name!r}: see --list")
    if arguments.list:
        for case in cases:
            print(f"{case.name:28} {case.injected}")
        return 0
    chosen = [
        case
        for case in cases
        if (not arguments.case or case.name in arguments.case)
        and (not arguments.rig or case.rig == arguments.rig)
    ]
    began = time.monotonic()
    results = try_all(chosen, arguments.verbose)
    show(results)
    if len(chosen) == len(cases):
        write(results, time.monotonic() - began)
    failed = [result.name for result in results if not result.passed]
    if failed:
        print(
            f"faults: {len(failed)} of {len(results)} failed: {', '.join(failed)}", file=sys.stderr
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
