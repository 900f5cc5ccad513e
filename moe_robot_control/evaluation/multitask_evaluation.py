"""Soft Modularization against its rivals: measures, tables, pictures."""

from __future__ import annotations

import argparse
import shlex
import sys

from rich.console import Console
from rich.markdown import Markdown
from tqdm import tqdm

from moe_robot_control.evaluation.multitask_report import (
    TITLES,
    draw_curves,
    published_table,
    success_table,
    training_table,
)
from moe_robot_control.evaluation.multitask_suite import (
    FIRST_SEED,
    METHODS,
    MultiTaskEvaluationError,
    TaskResult,
    Trained,
    find_trained,
    measure,
    missing,
    policy_of,
    read_results,
    suite_of,
    write_results,
)
from moe_robot_control.evaluation.report import finish_report
from moe_robot_control.evaluation.routing_analysis import (
    draw_by_task,
    draw_likeness,
    draw_over_time,
    follow,
    load_routing,
)
from moe_robot_control.learning.multitask_config import SUITES

ROUTED = "soft_modular"
ROUTED_EPISODES = 5


def evaluate(args: argparse.Namespace) -> int:
    """Measure all trainings that have no result yet, and write the report.

    Args:
        args: those of `multitask_cli.add_arguments`.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable models.
    """
    _check(args)
    trained = find_trained({"bench": args.trained, "mt10": args.mt10_trained})
    chosen = [
        one
        for one in trained
        if (not args.suite or one.suite in args.suite)
        and (not args.method or one.method in args.method)
    ]
    if not chosen:
        raise MultiTaskEvaluationError("no training is of that suite and that method")
    path = args.out / "results.csv"
    hashes = {(one.suite, one.method, one.seed): one.hash for one in trained}
    # what other policies did is no result of these
    results = [
        result
        for result in read_results(path)
        if hashes.get((result.suite, result.method, result.seed)) == result.models
    ]
    episodes = {"bench": args.episodes, "mt10": args.mt10_episodes}
    todo = [one for one in chosen if args.again or missing(one, episodes[one.suite], results)]
    order = {(one.suite, one.method, one.seed): index for index, one in enumerate(trained)}
    for one in tqdm(todo, unit="training"):
        found = measure(one, episodes[one.suite], args.metaworld_python)
        key = (one.suite, one.method, one.seed)
        results = [r for r in results if (r.suite, r.method, r.seed) != key] + found
        results.sort(key=lambda result: order[result.suite, result.method, result.seed])
        write_results(path, results)
    text = _write_report(args, trained, results)
    Console().print(Markdown(text))
    return 0


def _check(args: argparse.Namespace) -> None:
    for name, value in (("--episodes", args.episodes), ("--mt10-episodes", args.mt10_episodes)):
        if value < 1:
            raise MultiTaskEvaluationError(f"{name} must be 1 or more, not {value}")
    for names, known, what in (
        (args.suite, SUITES, "suite"),
        (args.method, tuple(METHODS), "method"),
    ):
        for name in names or ():
            if name not in known:
                raise MultiTaskEvaluationError(
                    f"unknown {what} {name!r}: expected one of {', '.join(known)}"
                )


def _write_report(
    args: argparse.Namespace, trained: list[Trained], results: list[TaskResult]
) -> str:
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    text = ["# One network for all skills", "", f"`{command}`", ""]
    for suite in SUITES:
        own = [one for one in trained if one.suite == suite]
        if not any(result.suite == suite for result in results):
            continue
        text += [f"## {TITLES[suite]}", "", success_table(suite, results), training_table(own)]
        if suite == "mt10":
            steps = max(one.environment_steps for one in own)
            text.append(published_table(results, steps))
        draw_curves(out / f"{suite}_curves.png", own, TITLES[suite])
        text += [f"![{suite} curves]({suite}_curves.png)", ""]
        routed = next((one for one in own if one.method == ROUTED), None)
        if routed is not None:
            text += _analyse(args, routed)
    return finish_report(out, text, command, len(results))


def _analyse(args: argparse.Namespace, trained: Trained) -> list[str]:
    """Pictures of the routing of a training, and the lines that show them."""
    routing = load_routing(trained.folder / "routing.onnx")
    suite = suite_of(trained, ROUTED_EPISODES, args.metaworld_python)
    routes = follow(suite, policy_of(trained), routing, FIRST_SEED)
    lines = [f"Routing of seed {trained.seed} in {ROUTED_EPISODES} episodes of each task:", ""]
    for name, draw in (
        ("routing", draw_by_task),
        ("routing_over_time", draw_over_time),
        ("routing_tsne", draw_likeness),
    ):
        file = f"{trained.suite}_{name}.png"
        draw(args.out / file, routes)
        lines += [f"![{name.replace('_', ' ')}]({file})", ""]
    return lines
