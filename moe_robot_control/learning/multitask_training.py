"""`moe-robot-control train multitask`: one policy for all skills, or a rival of that."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.multitask import MultiTaskConfig, MultiTaskTrainer, NetworkConfig
from moe_robot_control.learning.networks import num_parameters
from moe_robot_control.learning.sac import SacConfig
from moe_robot_control.learning.settings import (
    TrainingError,
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.manifest import sha256_of, write_manifest
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    check_skill,
    expert_observation_size,
)
from moe_robot_control.share import share_path

SINGLE = "single_task"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train multitask`."""
    parser.add_argument(
        "--method", default="soft_modular", help="of config/training/multitask.yaml"
    )
    parser.add_argument("--skill", help=f"the one skill of {SINGLE}; all, one by one, by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="environment steps instead of the config's")
    parser.add_argument("--output", type=Path, help="folder (data/multitask/<method>_<seed>)")
    parser.add_argument("--config", type=Path, help="instead of config/training/multitask.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs/multitask"), help="checkpoints")
    parser.add_argument("--threads", type=int, default=0, help="that step environments; 0: all")


def run(args: argparse.Namespace) -> int:
    """Train one policy for all skills, or for `single_task` one for each.

    Raises:
        MoeRobotControlError: unknown method or skill, unusable settings.
    """
    if args.steps is not None and args.steps < 1:
        raise TrainingError(f"--steps must be 1 or more, not {args.steps}")
    if args.skill is not None and args.method != SINGLE:
        raise TrainingError(f"--skill is only for --method {SINGLE}")
    overrides = {} if args.steps is None else {"steps": args.steps}
    config = load_multitask_config(args.method, args.config, overrides)
    if args.output is None:
        args.output = Path("data/multitask") / f"{args.method}_{args.seed}"
    if args.method != SINGLE:
        _train(args, config, SKILLS, args.method)
        return 0
    skills = SKILLS if args.skill is None else (check_skill(args.skill),)
    # as many steps for each task as where all are learned together
    share = -(-config.steps // len(SKILLS))
    every = -(-config.evaluate_every // len(SKILLS))
    for skill in skills:
        _train(args, replace(config, steps=share, evaluate_every=every), (skill,), skill)
    return 0


def load_multitask_config(
    method: str, path: Path | None = None, overrides: dict[str, Any] | None = None
) -> MultiTaskConfig:
    """Read the settings of a method.

    Args:
        method: under the file's `methods`.
        path: instead of the package's `config/training/multitask.yaml`.
        overrides: come last.

    Raises:
        TrainingError: unreadable, malformed, unknown method, or an unknown or missing key or a
            value of the wrong kind, which is named.
    """
    path = share_path("config/training/multitask.yaml") if path is None else path
    layers = read_layers(path, {"defaults", "methods"})
    methods = layers["methods"]
    if method not in methods:
        raise TrainingError(f"unknown method {method!r}: expected one of {', '.join(methods)}")
    values = layers["defaults"] | methods[method] | (overrides or {})
    network = build_checked(NetworkConfig, take_prefixed(values, "network_"), path, "network_")
    sac = build_checked(SacConfig, take_prefixed(values, "sac_"), path, "sac_")
    config = build_checked(MultiTaskConfig, values | {"network": network, "sac": sac}, path)
    ranges = {
        name: (getattr(config, name), 1, math.inf)
        for name in ("steps", "num_envs", "replay", "evaluate_every", "evaluation_episodes")
    }
    sac_ranges = {
        "sac_gamma": (sac.gamma, 0, 1 - 1e-9),
        "sac_tau": (sac.tau, 1e-9, 1),
        "sac_batch": (sac.batch, 1, math.inf),
    }
    check_ranges(path, ranges | sac_ranges)
    return config


class DeployedPolicy(nn.Module):
    """The actor's best action in physical units.

    Input: the observation filled up for all skills, then the skill as one-hot, (n, 12 + M), or
    for a network of one skill its own observation alone, (n, 4 + 4k).
    """

    def __init__(self, actor: nn.Module, num_tasks: int, num_inputs: int) -> None:
        super().__init__()
        self.actor, self.num_tasks = actor, num_tasks
        self.num_inputs = num_inputs + (num_tasks if num_tasks > 1 else 0)
        self.room = SHARED_OBSERVATION_SIZE - num_inputs
        self.register_buffer("low", torch.as_tensor(ACTION_LOW, dtype=torch.float32))
        self.register_buffer("size", torch.as_tensor(ACTION_HIGH - ACTION_LOW).float())

    def forward(self, x: Tensor) -> Tensor:
        if self.num_tasks > 1:
            state, task = x[:, :SHARED_OBSERVATION_SIZE], x[:, SHARED_OBSERVATION_SIZE:]
        else:
            state, task = nn.functional.pad(x, (0, self.room)), torch.ones_like(x[:, :1])
        mean, _ = self.actor(state, task).chunk(2, dim=-1)
        return self.low + (torch.tanh(mean) + 1.0) / 2.0 * self.size


def _train(
    args: argparse.Namespace, config: MultiTaskConfig, skills: tuple[str, ...], name: str
) -> None:
    torch.set_num_threads(1)
    folder = args.runs / f"{args.method}_{args.seed}" / name
    trainer = MultiTaskTrainer(
        lambda count: BenchSuite(count, skills, args.threads), config, args.seed, folder
    )
    actor = trainer.run()
    num_inputs = SHARED_OBSERVATION_SIZE
    if len(skills) == 1:
        num_inputs = expert_observation_size(skills[0])
    policy = DeployedPolicy(actor, len(skills), num_inputs).eval()
    path = args.output / f"{name}.onnx"
    example = torch.rand(64, policy.num_inputs)
    if len(skills) > 1:
        example[:, num_inputs:] = torch.eye(len(skills))[torch.randint(len(skills), (64,))]
    export_onnx(policy, path, example, "observation", "action")
    metrics = {
        "environment_steps": trainer.steps,
        "seconds": round(trainer.seconds, 1),
        "parameters": num_parameters(actor),
        "success": dict(zip(skills, trainer.curve[-1][1], strict=True)),
        "curve": trainer.curve,
    }
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    settings = args.config or share_path("config/training/multitask.yaml")
    write_manifest(path, command, args.seed, sha256_of(settings), metrics)
    print(f"{path}: " + ", ".join(f"{skill} {s:.0%}" for skill, s in metrics["success"].items()))
