"""The graph's options as command line arguments, for both launchers and `composed`."""

from __future__ import annotations

import argparse

from moe_robot_control.control.arbitration import MODES
from moe_robot_control.graph import (
    HOST,
    KINDS,
    PORT,
    GraphError,
    GraphOptions,
    check_kind,
    no_such_option,
)

_ONLY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("sim", "record", "finetune"), ("scenario", "seed", "viewer", "true_poses", "learned")),
    (("sim", "finetune"), ("real_time", "wait", "demonstrations")),
    (("finetune",), ("operated",)),
    (("deploy",), ("dry_run", "record")),
    (("record", "deploy"), ("device", "mapping", "weights", "operator", "recordings")),
)
"""Arguments that only these kinds of graph have; None, False or empty where not given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose a graph."""
    parser.add_argument("kind", nargs="?", default="sim", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--scenario", type=int, help="1 to 7: skills to be done")
    parser.add_argument("--skill", default="", help="do only this skill, with its expert alone")
    parser.add_argument("--seed", type=int, help="seed of the first episode")
    parser.add_argument("--viewer", action="store_true", help="open MuJoCo's viewer")
    parser.add_argument("--arm", default="panda", help="name in config/arms, or a YAML file")
    parser.add_argument(
        "--real-time", action="store_true", help="follow the wall clock instead of lockstep"
    )
    parser.add_argument(
        "--true-poses", action="store_true", help="object poses from the simulation, no cameras"
    )
    parser.add_argument("--wait", action="store_true", help="begin no episode until ~/reset")
    parser.add_argument("--top-k", type=int, default=None, help="keep the k largest gate weights")
    parser.add_argument("--model-directory", default="", help="folder of the policies' ONNX files")
    parser.add_argument(
        "--policy", default="", help="one network of that folder that serves all skills"
    )
    parser.add_argument(
        "--learned", default="", help="folder of the skill's expert that a learner replaces"
    )
    parser.add_argument("--demonstrations", default="", help="finetune: recorded episodes")
    parser.add_argument("--episodes", type=int, default=200, help="finetune: to explore in")
    parser.add_argument(
        "--operated", action="store_true", help="finetune: a real arm; an operator resets, judges"
    )
    parser.add_argument("--perception-model", default="", help="the pose network's ONNX file")
    parser.add_argument("--namespace", default="", help="namespace of all nodes")
    parser.add_argument(
        "--mode",
        default="",
        help=f"who commands the arm at first: {', '.join(MODES)}; a real arm waits in idle",
    )
    parser.add_argument(
        "--speed-scale", type=float, default=1.0, help="share of the wanted speed, above 0 to 1"
    )
    parser.add_argument("--dry-run", action="store_true", help="deploy: publish nothing to the arm")
    parser.add_argument("--record", action="store_true", help="deploy: with teleop and recorder")
    parser.add_argument("--device", default="", help="recorded: joy (a topic) or joystick")
    parser.add_argument("--mapping", default="", help="recorded: the device's, in config/teleop")
    parser.add_argument(
        "--weights", action="store_true", help="recorded: the operator gates trained experts"
    )
    parser.add_argument("--operator", default="", help="recorded: his or her name")
    parser.add_argument("--recordings", default="", help="recorded: folder of the episodes")
    parser.add_argument(
        "--console",
        nargs="?",
        const=f"{HOST}:{PORT}",
        default="",
        metavar="HOST:PORT",
        help=f"with the operator's web page; {HOST}:{PORT} unless told otherwise",
    )
    parser.add_argument(
        "--parameters",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file that overrides those in config/; may be repeated",
    )


def options_from(arguments: argparse.Namespace) -> GraphOptions:
    """The options that were chosen.

    Raises:
        GraphError: an unknown kind of graph, or an option that this kind does not have.
    """
    check_kind(arguments.kind)
    foreign = [name for kinds, names in _ONLY if arguments.kind not in kinds for name in names]
    for name in foreign:
        value = getattr(arguments, name)
        # a seed of 0 was given, too
        if value is not None and value is not False and value != "":
            raise GraphError(no_such_option(f"--{name.replace('_', '-')}", arguments.kind))
    return GraphOptions(
        kind=arguments.kind,
        scenario=1 if arguments.scenario is None else arguments.scenario,
        skill=arguments.skill,
        seed=arguments.seed or 0,
        headless=not arguments.viewer,
        arm=arguments.arm,
        lockstep=not arguments.real_time,
        true_poses=arguments.true_poses,
        autostart=not arguments.wait,
        top_k=arguments.top_k,
        model_directory=arguments.model_directory,
        policy=arguments.policy,
        learned=arguments.learned,
        demonstrations=arguments.demonstrations,
        episodes=arguments.episodes,
        operated=arguments.operated,
        perception_model=arguments.perception_model,
        namespace=arguments.namespace,
        mode=arguments.mode,
        speed_scale=arguments.speed_scale,
        dry_run=arguments.dry_run,
        record=arguments.record,
        device=arguments.device or "joy",
        mapping=arguments.mapping,
        by_weights=arguments.weights,
        operator=arguments.operator,
        recordings=arguments.recordings,
        console=arguments.console,
        parameter_files=tuple(arguments.parameters),
    )


def to_arguments(options: GraphOptions) -> list[str]:
    """The command line that chooses `options`."""
    arguments = [options.kind]
    if options.kind != "deploy":
        arguments += ["--scenario", str(options.scenario), "--seed", str(options.seed)]
    if options.kind == "finetune":
        arguments += ["--episodes", str(options.episodes)]
    for flag, value in (
        ("--skill", options.skill),
        ("--arm", options.arm),
        ("--model-directory", options.model_directory),
        ("--policy", options.policy),
        ("--learned", options.learned),
        ("--demonstrations", options.demonstrations),
        ("--perception-model", options.perception_model),
        ("--namespace", options.namespace),
        ("--mode", options.mode),
        ("--device", "" if options.device == "joy" else options.device),
        ("--mapping", options.mapping),
        ("--operator", options.operator),
        ("--recordings", options.recordings),
        ("--console", options.console),
    ):
        if value:
            arguments += [flag, value]
    for flag, chosen in (
        ("--viewer", not options.headless),
        ("--real-time", not options.lockstep),
        ("--true-poses", options.true_poses),
        ("--wait", not options.autostart),
        ("--dry-run", options.dry_run),
        ("--record", options.record),
        ("--weights", options.by_weights),
        ("--operated", options.operated),
    ):
        if chosen:
            arguments.append(flag)
    if options.speed_scale != 1.0:
        arguments += ["--speed-scale", repr(options.speed_scale)]
    if options.top_k is not None:
        arguments += ["--top-k", str(options.top_k)]
    for path in options.parameter_files:
        arguments += ["--parameters", path]
    return arguments
