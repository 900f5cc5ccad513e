"""`moe-robot-control finetune`: the graph of one skill, and the learner beside it."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from rclpy.parameter import Parameter
from rich.console import Console

from moe_robot_control.demonstrations.episode import hash_episodes
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.graph import GraphOptions
from moe_robot_control.learning.fine_tuning import FineTuner
from moe_robot_control.manifest import write_manifest
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.learner import LearnerNode
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.up import graph_commands, graph_environment
from moe_robot_control.policies.spaces import SKILLS, check_skill


class FineTuningError(MoeRobotControlError):
    """An option that makes no sense, or the graph died."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `finetune`."""
    parser.add_argument("--skill", required=True, help=f"one of {', '.join(SKILLS)}")
    parser.add_argument(
        "--demonstrations", type=Path, default=Path("data/operator"), help="a folder for each skill"
    )
    parser.add_argument("--workspace", type=Path, help="folder (runs/finetune/<skill>_<seed>)")
    parser.add_argument(
        "--output", type=Path, help="folder of the policy to deploy (<workspace>/deployed)"
    )
    parser.add_argument("--config", type=Path, help="instead of config/training/awac.yaml")
    parser.add_argument("--episodes", type=int, default=200, help="to explore in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--real-time", action="store_true", help="follow the wall clock instead of lockstep"
    )
    parser.add_argument(
        "--true-poses", action="store_true", help="object poses from the simulation, no cameras"
    )


def run(args: argparse.Namespace) -> int:
    """Fine-tune; interrupted, the same command goes on."""
    skill = check_skill(args.skill)
    if args.episodes < 0 or args.seed < 0:
        raise FineTuningError("--episodes and --seed must not be negative")
    workspace = (args.workspace or Path("runs/finetune") / f"{skill}_{args.seed}").resolve()
    demonstrations = (args.demonstrations / skill).resolve()
    workspace.mkdir(parents=True, exist_ok=True)
    options = GraphOptions(
        skill=skill,
        seed=args.seed,
        learned=str(workspace),
        lockstep=not args.real_time,
        true_poses=args.true_poses,
        autostart=False,
    )
    values = {
        "use_sim_time": True,
        "skill": skill,
        "workspace": str(workspace),
        "demonstrations": str(demonstrations),
        "settings": str(args.config.resolve()) if args.config else "",
        "episodes": args.episodes,
        "seed": args.seed,
        "lockstep": not args.real_time,
    }
    console = Console()
    tuner = _learn(options, values, console)
    path = (args.output or workspace / "deployed") / f"{skill}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    tuner.export(path, gaussian=False)
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    metrics = {
        "through": "real-time graph" if args.real_time else "lockstep graph",
        "poses": "true" if args.true_poses else "camera",
        "episodes": tuner.episodes,
        "updates": tuner.updates,
        "curve": tuner.curve,
    }
    write_manifest(path, command, args.seed, hash_episodes(demonstrations), metrics)
    console.print(f"{path}: {tuner.episodes} episodes")
    return 0


def _learn(options: GraphOptions, values: dict[str, Any], console: Console) -> FineTuner:
    tail = Tail()
    with reserved_domain() as domain, context_of(domain) as context:
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = LearnerNode(
            context=context, parameter_overrides=overrides, use_global_arguments=False
        )
        executor = LeanExecutor(context=context)
        executor.add_node(node)

        def stop(number: int, frame: FrameType | None) -> None:
            if node.stopped:
                raise KeyboardInterrupt
            console.print("stopping after this episode; again: at once")
            node.stopped = True

        before = signal.signal(signal.SIGINT, stop)
        try:
            node.start()
            commands = graph_commands(options, composed=True)
            with ProcessGroup(commands, environment, tail, catch_signals=False) as group:

                def spin(timeout: float) -> None:
                    executor.spin_some(timeout)
                    ended = group.ended()
                    if ended is not None:
                        group.drain()
                        raise FineTuningError(f"node {ended[0]} ended: {tail.last}")

                node.run(spin, console.print)
            return node.tuner
        finally:
            signal.signal(signal.SIGINT, before)
            node.tear_down()
            node.destroy_node()
