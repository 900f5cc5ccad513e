"""`moe-robot-control evaluate`: success over many episodes, over the graph or in simulation."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation import (
    awac_cli,
    mix_and_match_cli,
    multitask_cli,
    perception_accuracy,
    roman_cli,
)
from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.evaluation.policies_in_simulation import (
    Controller,
    expert,
    mixture,
    run_in_simulation,
    teacher,
)
from moe_robot_control.evaluation.report import (
    print_table,
    summarise,
    task_name,
    write_json,
    write_page,
)
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.share import share_path
from moe_robot_control.world.observers import ErrorModel
from moe_robot_control.world.tasks import check_scenario

KINDS = {
    "roman": roman_cli,
    "multitask": multitask_cli,
    "awac": awac_cli,
    "mix-and-match": mix_and_match_cli,
    "perception": perception_accuracy,
}
PLAIN = "plain_"
BATCH = 50
"""Episodes that run at once."""
FIRST_TRAINING_SEED = 1_000_000
"""Demonstrations were recorded with seeds from here on."""


class EvaluationError(MoeRobotControlError):
    """An option that makes no sense."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate`."""

    def add(flag: str, **options: Any) -> None:
        # under names of their own: those of a KIND would silently replace them
        if "action" not in options or options["action"] == "append":
            options["metavar"] = flag[2:].upper()
        parser.add_argument(flag, dest=PLAIN + flag[2:].replace("-", "_"), **options)

    add("--scenario", type=int, action="append", help="1 to 7; may be repeated")
    add("--skill", action="append", help="one skill with its expert alone")
    add("--seed", type=int, default=0, help="seed of the first episode of each")
    add("--episodes", type=int, default=20, help="of each scenario or skill")
    add("--json", type=Path, help="also write the results there")
    add("--out", type=Path, help="folder for a page with the table and a picture")
    add("--models", type=Path, help="folder of the policies (models/policies)")
    add("--policy", default="", help="one network for all skills, by its name")
    add("--top-k", type=int, default=len(SKILLS), help="keep the k largest gate weights (all)")
    add(
        "--simulation",
        action="store_true",
        help="in the environments, from true positions, instead of over the graph from images",
    )
    add("--teacher", action="store_true", help="simulation: the scripted experts")
    add("--position-bias", type=float, default=0.0, help="simulation: constant error [m]")
    add("--position-noise", type=float, default=0.0, help="simulation: error of every look [m]")
    kinds = parser.add_subparsers(dest="kind", metavar="KIND")
    helps = {
        "roman": "noise, disturbances, rivals and ablations",
        "multitask": "one network for all skills, and its rivals",
        "awac": "fine-tuning from demonstrations, and its rivals",
        "mix-and-match": "curricula of agents from simple to complex",
        "perception": "position errors on held-out renders",
    }
    for name, module in KINDS.items():
        module.add_arguments(kinds.add_parser(name, help=helps[name]))
    parser.set_defaults(defaults=_plain(parser.parse_args([])))


def run(args: argparse.Namespace) -> int:
    """Evaluate all skills and scenarios, or those asked for, or perception.

    Raises:
        MoeRobotControlError: unknown skill or scenario, unusable models, impossible options.
    """
    plain = _plain(args)
    misplaced = [name for name, value in plain.items() if value != args.defaults[name]]
    if args.kind and misplaced:
        flag = misplaced[0].replace("_", "-")
        raise EvaluationError(f"--{flag} must come after {args.kind!r}, if it is an option of it")
    if args.kind:
        return KINDS[args.kind].run(args)
    vars(args).update(plain)
    _check(args)
    skills = [check_skill(skill) for skill in args.skill or []]
    scenarios = [check_scenario(scenario) for scenario in args.scenario or []]
    if not skills and not scenarios:
        skills, scenarios = list(SKILLS), list(range(1, NUM_SCENARIOS + 1))
    if args.simulation:
        return _run_in_simulation(args, skills, scenarios)
    return _run_over_graph(args, skills, scenarios)


def _plain(args: argparse.Namespace) -> dict[str, Any]:
    """What was given before a KIND, or without one."""
    found = vars(args).items()
    return {name.removeprefix(PLAIN): value for name, value in found if name.startswith(PLAIN)}


def _check(args: argparse.Namespace) -> None:
    if args.episodes < 1:
        raise EvaluationError(f"--episodes must be 1 or more, not {args.episodes}")
    if not 0 <= args.seed <= FIRST_TRAINING_SEED - args.episodes:
        raise EvaluationError(
            f"--seed {args.seed}: seeds below 0 or from {FIRST_TRAINING_SEED} on (demonstrations) "
            "cannot be evaluated"
        )
    if not 1 <= args.top_k <= len(SKILLS):
        raise EvaluationError(f"--top-k must be 1 to {len(SKILLS)}, not {args.top_k}")
    if args.position_bias < 0 or args.position_noise < 0:
        raise EvaluationError("--position-bias and --position-noise must not be negative")
    if args.teacher and args.policy:
        raise EvaluationError("--policy is not for --teacher, which needs none")
    if not args.simulation and (args.teacher or args.position_bias or args.position_noise):
        raise EvaluationError("--teacher and --position-... need --simulation")


def _run_over_graph(args: argparse.Namespace, skills: list[str], scenarios: list[int]) -> int:
    # here, because the simulation needs no ROS
    from moe_robot_control.graph import GraphOptions, folder_option
    from moe_robot_control.nodes.demo import TITLE, run_episodes

    args.skill, args.scenario = skills, scenarios
    models = folder_option(args.models)
    options = GraphOptions(policy=args.policy, model_directory=models, top_k=args.top_k)
    _report(args, TITLE, run_episodes(args, Console(), None, options))
    return 0


def _run_in_simulation(args: argparse.Namespace, skills: list[str], scenarios: list[int]) -> int:
    folder = share_path("models/policies") if args.models is None else args.models
    tasks: list[tuple[Controller, str | None, int | None]] = []
    for skill in skills:
        own = teacher() if args.teacher else expert(folder, skill, args.policy)
        tasks.append((own, skill, None))
    if scenarios:
        whole = teacher() if args.teacher else mixture(folder, args.top_k, shared=args.policy)
        tasks += [(whole, None, number) for number in scenarios]
    seeds = list(range(args.seed, args.seed + args.episodes))
    outcomes: list[Outcome] = []
    with tqdm(total=len(tasks) * len(seeds), unit="episode") as bar:
        for controller, skill, scenario in tasks:
            bar.set_description(task_name(scenario, skill))
            for first in range(0, len(seeds), BATCH):
                part = run_in_simulation(
                    controller,
                    seeds[first : first + BATCH],
                    scenario=scenario,
                    skill=skill,
                    errors=ErrorModel(args.position_bias, args.position_noise),
                )
                outcomes += part
                bar.update(len(part))
    _report(args, "In simulation", outcomes)
    return 0


def _report(args: argparse.Namespace, title: str, episodes: Sequence[Outcome]) -> None:
    rows = summarise(episodes)
    print_table(rows, title, Console())
    if args.json is not None:
        write_json(args.json, rows, episodes)
    if args.out is not None:
        write_page(args.out, rows, title, shlex.join(["moe-robot-control", *sys.argv[1:]]))
