"""`moe-robot-control train`: behavioural cloning and the pose network."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import torch

from moe_robot_control.demonstrations.episode import hash_episodes, load_episodes
from moe_robot_control.learning import perception_training
from moe_robot_control.learning.bc import BcConfig, TrainingError, train_expert, train_gate
from moe_robot_control.learning.export import export_policy
from moe_robot_control.manifest import write_manifest
from moe_robot_control.policies.runtime import GATE_NAME
from moe_robot_control.policies.spaces import (
    SKILLS,
    check_skill,
    expert_observation,
    gate_observation,
)

GATE_FOLDER = "gate"
"""Folder of the manipulation network's demonstrations, beside one for each skill."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sub-commands of `train`."""
    what = parser.add_subparsers(dest="what", required=True, metavar="{bc,perception}")
    bc = what.add_parser("bc", help="clone experts or the manipulation network")
    target = bc.add_mutually_exclusive_group(required=True)
    target.add_argument("--skill", help="one of: " + ", ".join(SKILLS))
    target.add_argument("--gate", action="store_true", help="the manipulation network")
    target.add_argument("--all", action="store_true", help="all experts and the gate")
    bc.add_argument("--demonstrations", type=Path, default=Path("data/demonstrations"))
    bc.add_argument("--output", type=Path, default=Path("models/policies"))
    bc.add_argument("--config", type=Path, help="instead of config/training/bc.yaml")
    bc.add_argument("--iterations", type=int, help="instead of the config's")
    bc.add_argument("--seed", type=int, default=0)
    bc.add_argument("--runs", type=Path, default=Path("runs/bc"), help="for checkpoints")
    bc.set_defaults(train=run_bc)
    perception = what.add_parser("perception", help="train the pose network")
    perception_training.add_arguments(perception)
    perception.set_defaults(train=perception_training.run)


def run(args: argparse.Namespace) -> int:
    """Train what the arguments ask for."""
    return args.train(args)


def run_bc(args: argparse.Namespace) -> int:
    """Clone, export to ONNX and write manifests.

    Raises:
        MoeRobotControlError: unknown skill, unusable demonstrations or configuration.
    """
    config = BcConfig.load(args.config)
    if args.iterations is not None:
        if args.iterations < 1:
            raise TrainingError(f"--iterations must be at least 1, not {args.iterations}")
        config = replace(config, iterations=args.iterations)
    torch.set_num_threads(1)  # small networks: more threads only wait for each other
    if args.all:
        names = [*SKILLS, GATE_FOLDER]
    else:
        names = [GATE_FOLDER if args.gate else check_skill(args.skill)]
    for name in names:
        _clone(name, args, config)
    return 0


def _clone(name: str, args: argparse.Namespace, config: BcConfig) -> None:
    folder = args.demonstrations / name
    episodes = load_episodes(folder)
    if name == GATE_FOLDER:
        network, metrics = train_gate(episodes, config, args.seed, args.runs)
        observations = gate_observation(episodes[0].scene)
        path = args.output / f"{GATE_NAME}.onnx"
    else:
        network, metrics = train_expert(episodes, name, config, args.seed, args.runs)
        observations = expert_observation(episodes[0].scene, name)
        path = args.output / f"{name}.onnx"
    gap = export_policy(network, path, torch.from_numpy(observations).float())
    write_manifest(
        path,
        command=shlex.join(["moe-robot-control", *sys.argv[1:]]),
        seed=args.seed,
        data_sha256=hash_episodes(folder),
        metrics=metrics | {"episodes": len(episodes), "onnx_gap": gap},
    )
    print(f"{path}: " + ", ".join(f"{key} {value:.4f}" for key, value in metrics.items()))
