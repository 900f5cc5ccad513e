"""Mix & Match against its parts: measures, tables, pictures."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown
from tqdm import tqdm

from moe_robot_control.evaluation.mix_and_match_report import (
    draw_curves,
    draw_lineage,
    population_table,
    success_table,
    task_table,
)
from moe_robot_control.evaluation.mix_and_match_suite import (
    FIRST_SEED,
    METHODS,
    MixAndMatchEvaluationError,
    Result,
    Trained,
    curves,
    find_trained,
    measure,
    read_results,
    write_results,
)
from moe_robot_control.evaluation.report import finish_report
from moe_robot_control.learning.mix_and_match_config import CURRICULA

_TITLES = {
    "actions": "Actions: a few moves at full speed to any velocity",
    "architecture": "Architecture: feed-forward to recurrent, the last object soon hidden",
    "multitask": "Tasks: one policy a skill to one policy for all seven",
}


def evaluate(args: argparse.Namespace) -> int:
    """Measure all trainings that have no result yet, and write the report.

    Args:
        args: those of `mix_and_match_cli.add_arguments`.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable agents.
    """
    _check(args)
    trained = find_trained(args.trained)
    chosen = [
        one
        for one in trained
        if (not args.curriculum or one.curriculum in args.curriculum)
        and (not args.method or one.method in args.method)
    ]
    if not chosen:
        raise MixAndMatchEvaluationError("no training is of that curriculum and that method")
    path = args.out / "results.json"
    models = {one.name: one.manifest["onnx_sha256"] for one in trained}
    # what other agents did is no result of these
    results = {r.name: r for r in read_results(path) if models.get(r.name) == r.model}
    for one in tqdm(chosen, unit="training"):
        known = results.get(one.name)
        if args.again or known is None or known.episodes != args.episodes:
            results[one.name] = measure(one, args.episodes)
            write_results(path, results.values())
    Console().print(Markdown(_write_report(args, trained, results)))
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.episodes < 1:
        raise MixAndMatchEvaluationError(f"--episodes must be 1 or more, not {args.episodes}")
    for what, given, known in (
        ("curriculum", args.curriculum, CURRICULA),
        ("method", args.method, METHODS),
    ):
        for name in given or ():
            if name not in known:
                raise MixAndMatchEvaluationError(
                    f"unknown {what} {name!r}: expected one of {', '.join(known)}"
                )


def _write_report(
    args: argparse.Namespace, trained: Sequence[Trained], results: dict[str, Result]
) -> str:
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    text = [
        "# Mix & Match",
        "",
        f"`{command}`",
        "",
        "The last agent of each curriculum alone, with its likeliest actions, on episodes that no "
        f"training saw (seeds from {FIRST_SEED} on), seen with perception's errors. Curves are the "
        "trainings' own evaluations. Steps of a population are those of the member that ended "
        "best and of those it descends from; all members together took as many times more.",
        "",
    ]
    for curriculum in CURRICULA:
        own = [one for one in trained if one.curriculum == curriculum]
        measured = {one.name: results[one.name] for one in own if one.name in results}
        if not measured:
            continue
        skills = ", ".join(
            dict.fromkeys(one.metrics["skill"] for one in own if one.metrics["skill"])
        )
        text += [f"## {_TITLES[curriculum]}", ""]
        if skills:
            text += [f"Skill: {skills}.", ""]
        text += [success_table(own, measured), task_table(own, measured)]
        file = f"{curriculum}_curves.png"
        draw_curves(out / file, own, curriculum)
        text += [f"![success and alpha against environment steps]({file})", ""]
        for one in own:
            if "lineage" in one.metrics:
                file = f"{one.name}_lineage.png"
                draw_lineage(out / file, one.metrics["lineage"], one.name)
                text += [f"### Population, seed {one.seed}", ""]
                text += [population_table(one.metrics["lineage"]), f"![lineage]({file})", ""]
    (out / "curves.json").write_text(json.dumps(curves(trained)) + "\n")
    return finish_report(out, text, command, len(results))
