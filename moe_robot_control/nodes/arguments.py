"""The graph's options as command line arguments, for both launchers and `composed`."""

from __future__ import annotations

import argparse

from moe_robot_control.graph import KINDS, GraphOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose a graph."""
    parser.add_argument("kind", nargs="?", default="sim", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--scenario", type=int, default=1, help="1 to 7: skills to be done")
    parser.add_argument("--skill", default="", help="do only this skill, with its expert alone")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
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
        "--parameters",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file that overrides those in config/; may be repeated",
    )


def options_from(arguments: argparse.Namespace) -> GraphOptions:
    """The options that were chosen."""
    return GraphOptions(
        kind=arguments.kind,
        scenario=arguments.scenario,
        skill=arguments.skill,
        seed=arguments.seed,
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
        parameter_files=tuple(arguments.parameters),
    )


def to_arguments(options: GraphOptions) -> list[str]:
    """The command line that chooses `options`."""
    arguments = [options.kind, "--scenario", str(options.scenario), "--seed", str(options.seed)]
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
    ):
        if value:
            arguments += [flag, value]
    for flag, chosen in (
        ("--viewer", not options.headless),
        ("--real-time", not options.lockstep),
        ("--true-poses", options.true_poses),
        ("--wait", not options.autostart),
        ("--operated", options.operated),
    ):
        if chosen:
            arguments.append(flag)
    if options.top_k is not None:
        arguments += ["--top-k", str(options.top_k)]
    for path in options.parameter_files:
        arguments += ["--parameters", path]
    return arguments
