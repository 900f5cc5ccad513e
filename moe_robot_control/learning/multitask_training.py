"""`moe-robot-control train multitask`: one policy for all tasks, or a rival of that."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.metaworld_suite import MT10, PYTHON, MetaworldSuite
from moe_robot_control.learning.multitask import Featured, MultiTaskConfig, MultiTaskTrainer
from moe_robot_control.learning.multitask_config import SINGLE, SUITES, load_multitask_config
from moe_robot_control.learning.networks import num_parameters
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.soft_modularization import SoftModularNetwork
from moe_robot_control.learning.task_suites import TaskSuite
from moe_robot_control.manifest import sha256_of, write_manifest
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    expert_observation_size,
)
from moe_robot_control.share import share_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train multitask`."""
    parser.add_argument(
        "--method", default="soft_modular", help="of config/training/multitask.yaml"
    )
    parser.add_argument(
        "--suite", default="bench", help="bench: the seven skills; mt10: Meta-World's tasks"
    )
    parser.add_argument("--task", help=f"the one task of {SINGLE}; all, one by one, by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="environment steps instead of the config's")
    parser.add_argument("--output", type=Path, help="folder (data/multitask/<method>_<seed>)")
    parser.add_argument("--config", type=Path, help="instead of config/training/multitask.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs/multitask"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=0, help="that step environments; 0: all")
    parser.add_argument(
        "--metaworld-python", type=Path, default=PYTHON, help="interpreter that has metaworld"
    )


def run(args: argparse.Namespace) -> int:
    """Train one policy for all tasks, or for `single_task` one for each.

    Raises:
        MoeRobotControlError: unknown method, suite or task, unusable settings.
    """
    if args.steps is not None and args.steps < 1:
        raise TrainingError(f"--steps must be 1 or more, not {args.steps}")
    if args.threads < 0:
        raise TrainingError(f"--threads must be 0 or more, not {args.threads}")
    if args.suite not in SUITES:
        raise TrainingError(f"unknown suite {args.suite!r}: expected one of {', '.join(SUITES)}")
    tasks = SKILLS if args.suite == "bench" else MT10
    if args.task is not None and args.method != SINGLE:
        raise TrainingError(f"--task is only for --method {SINGLE}")
    if args.task is not None and args.task not in tasks:
        raise TrainingError(f"unknown task {args.task!r}: expected one of {', '.join(tasks)}")
    overrides = {} if args.steps is None else {"steps": args.steps}
    config = load_multitask_config(args.method, args.suite, args.config, overrides)
    if args.output is None:
        folder = "multitask" if args.suite == "bench" else args.suite
        args.output = Path("data") / folder / f"{args.method}_{args.seed}"
    if args.method != SINGLE:
        _train(args, config, tasks, args.method)
        return 0
    # as many steps for each task as where all are learned together
    share = -(-config.steps // len(tasks))
    every = -(-config.evaluate_every // len(tasks))
    for task in tasks if args.task is None else (args.task,):
        _train(args, replace(config, steps=share, evaluate_every=every), (task,), task)
    return 0


class DeployedPolicy(nn.Module):
    """The actor's best action in physical units.

    Input: the state, then the task as one-hot, (n, d + M); for a network of one task its own
    state alone, which the actor's then only begins with.
    """

    def __init__(
        self,
        actor: nn.Module,
        num_tasks: int,
        state_size: int,
        own_size: int,
        low: np.ndarray,
        high: np.ndarray,
    ) -> None:
        """Wrap an actor.

        Args:
            actor: of states of length `state_size` and tasks.
            num_tasks: M.
            state_size: d.
            own_size: how much of the state comes in; d if there are several tasks.
            low, high: the actions that -1 and 1 stand for.
        """
        super().__init__()
        self.actor, self.num_tasks, self.own_size = actor, num_tasks, own_size
        self.num_inputs = own_size + (num_tasks if num_tasks > 1 else 0)
        self.room = state_size - own_size
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("size", torch.tensor(high - low, dtype=torch.float32))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """State and task as the actor takes them."""
        if self.num_tasks > 1:
            return x[:, : self.own_size], x[:, self.own_size :]
        return nn.functional.pad(x, (0, self.room)), torch.ones_like(x[:, :1])

    def forward(self, x: Tensor) -> Tensor:
        mean, _ = self.actor(*self.split(x)).chunk(2, dim=-1)
        return self.low + (torch.tanh(mean) + 1.0) / 2.0 * self.size


class DeployedRouting(nn.Module):
    """The routing of a soft modular policy, (n, L - 1, n, n), of the policy's own input."""

    def __init__(self, policy: DeployedPolicy, actor: Featured) -> None:
        super().__init__()
        self.policy, self.actor = policy, actor

    def forward(self, x: Tensor) -> Tensor:
        state, task = self.policy.split(x)
        return self.actor.network.probabilities(self.actor.features(state), task)


def _train(
    args: argparse.Namespace, config: MultiTaskConfig, tasks: Sequence[str], name: str
) -> None:
    torch.set_num_threads(1)
    folder = args.runs / args.suite / f"{args.method}_{args.seed}" / name
    trainer = MultiTaskTrainer(_suite_of(args, tasks, config), config, args.seed, folder)
    actor = trainer.run()
    suite = trainer.suite
    low, high = -np.ones(suite.num_actions), np.ones(suite.num_actions)
    own = suite.num_inputs
    if args.suite == "bench":
        low, high = ACTION_LOW, ACTION_HIGH
        own = SHARED_OBSERVATION_SIZE if len(tasks) > 1 else expert_observation_size(tasks[0])
    policy = DeployedPolicy(actor, len(tasks), suite.num_inputs, own, low, high).eval()
    path = args.output / f"{name}.onnx"
    example = torch.rand(64, policy.num_inputs)
    if len(tasks) > 1:
        example[:, own:] = torch.eye(len(tasks))[torch.randint(len(tasks), (64,))]
    export_onnx(policy, path, example, "observation", "action")
    if isinstance(actor.network, SoftModularNetwork) and not actor.network.routing.hard:
        routing = DeployedRouting(policy, actor)
        export_onnx(routing, args.output / "routing.onnx", example, "observation", "routing")
    metrics = {
        "environment_steps": trainer.steps,
        "seconds": round(trainer.seconds, 1),
        "parameters": num_parameters(actor),
        "success": dict(zip(tasks, trainer.curve[-1][1], strict=True)),
        "curve": trainer.curve,
    }
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    settings = args.config or share_path("config/training/multitask.yaml")
    write_manifest(path, command, args.seed, sha256_of(settings), metrics)
    print(f"{path}: " + ", ".join(f"{task} {s:.0%}" for task, s in metrics["success"].items()))


def _suite_of(
    args: argparse.Namespace, tasks: Sequence[str], config: MultiTaskConfig
) -> Callable[[int], TaskSuite]:
    if args.suite == "bench":
        return lambda count: BenchSuite(count, tasks, args.threads, config.handed_over)
    return lambda count: MetaworldSuite(count, tasks, args.metaworld_python, args.threads or None)
