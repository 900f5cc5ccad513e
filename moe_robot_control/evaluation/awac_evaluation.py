"""AWAC against its rivals: measures, tables, pictures."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown
from tqdm import tqdm

from moe_robot_control.evaluation.awac_report import draw_curves, success_table, training_table
from moe_robot_control.evaluation.awac_suite import (
    FIRST_SEED,
    METHODS,
    AwacEvaluationError,
    Result,
    Trained,
    find_trained,
    hash_of,
    measure,
    read_results,
    write_curves,
    write_results,
)
from moe_robot_control.evaluation.report import finish_report
from moe_robot_control.policies.spaces import check_skill


def evaluate(args: argparse.Namespace) -> int:
    """Measure all trainings that have no result yet, and write the report.

    Args:
        args: those of `awac_cli.add_arguments`.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable policies.
    """
    _check(args)
    trained = find_trained(args.trained)
    chosen = [
        one
        for one in trained
        if (not args.skill or one.skill in args.skill)
        and (not args.method or one.method in args.method)
    ]
    if not chosen:
        raise AwacEvaluationError("no training is of that skill and that method")
    path = args.out / "results.csv"
    hashes = {_key(one): hash_of(one) for one in trained}
    # what other policies did is no result of these
    results = [r for r in read_results(path) if hashes.get(_key(r)) == r.model]
    order = {key: index for index, key in enumerate(hashes)}
    known = {_key(result) for result in results if result.episodes == args.episodes}
    for one in tqdm([c for c in chosen if args.again or _key(c) not in known], unit="policy"):
        found = measure(one, args.episodes)
        results = [r for r in results if _key(r) != _key(one)] + [found]
        results.sort(key=lambda result: order[_key(result)])
        write_results(path, results)
    Console().print(Markdown(_write_report(args, trained, results)))
    return 0


def _key(one: Trained | Result) -> tuple[str, str, int]:
    return one.method, one.skill, one.seed


def _check(args: argparse.Namespace) -> None:
    if args.episodes < 1:
        raise AwacEvaluationError(f"--episodes must be 1 or more, not {args.episodes}")
    for skill in args.skill or ():
        check_skill(skill)
    for method in args.method or ():
        if method not in METHODS:
            raise AwacEvaluationError(
                f"unknown method {method!r}: expected one of {', '.join(METHODS)}"
            )


def _write_report(
    args: argparse.Namespace, trained: Sequence[Trained], results: Sequence[Result]
) -> str:
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    text = [
        "# From demonstrations to online fine-tuning",
        "",
        f"`{command}`",
        "",
        "Final policies in the simulation, on true poses and seeds that no training saw (from "
        f"{FIRST_SEED} on). Curves and trainings' tables are the trainings' own evaluations; what "
        "acts after a roll-back is the best policy so far, measured by these same episodes. "
        "Trained through `lockstep graph`, or `simulation`: in the environment alone, which gives "
        "the same trajectories (`test/graph/test_episodes.py`).",
        "",
    ]
    for skill in dict.fromkeys(one.skill for one in trained):
        own = [one for one in trained if one.skill == skill]
        file = f"{skill}_curves.png"
        draw_curves(out / file, own, skill)
        text += [f"## {skill}", "", success_table(skill, own, results), training_table(own)]
        text += [f"![success of {skill} against robot minutes]({file})", ""]
    write_curves(out / "curves.csv", trained)
    return finish_report(out, text, command, len(results))
