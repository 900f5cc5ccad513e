"""`moe-robot-control train`: experts, manipulation network, perception."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import torch

from moe_robot_control.demonstrations.episode import hash_episodes, load_episodes
from moe_robot_control.learning import (
    mix_and_match_cli,
    multitask_training,
    online_training,
    perception_training,
    roman_training,
)
from moe_robot_control.learning.bc import BcConfig, train_expert, train_gate
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.manifest import write_manifest
from moe_robot_control.policies.runtime import GATE_NAME
from moe_robot_control.policies.spaces import SKILLS, check_skill


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    bc = kinds.add_parser("bc", help="behavioural cloning of experts and manipulation network")
    what = bc.add_mutually_exclusive_group(required=True)
    what.add_argument("--skill", help=f"one expert: {', '.join(SKILLS)}")
    what.add_argument("--gate", action="store_true", help="the manipulation network")
    what.add_argument("--all", action="store_true", help="all experts and the network")
    bc.add_argument("--demonstrations", type=Path, default=Path("data/demonstrations"))
    bc.add_argument("--output", type=Path, default=Path("models/policies"))
    bc.add_argument("--config", type=Path, help="instead of config/training/bc.yaml")
    bc.add_argument("--iterations", type=int, help="instead of the config's")
    bc.add_argument("--seed", type=int, default=0)
    bc.add_argument("--runs", type=Path, default=Path("runs/bc"), help="checkpoints")
    bc.set_defaults(train=_run_bc)
    roman = kinds.add_parser("roman", help="behavioural cloning, then PPO with GAIL (ROMAN)")
    roman_training.add_arguments(roman)
    roman.set_defaults(train=roman_training.run)
    multitask = kinds.add_parser("multitask", help="one policy for all skills by multi-task SAC")
    multitask_training.add_arguments(multitask)
    multitask.set_defaults(train=multitask_training.run)
    mix_and_match = kinds.add_parser(
        "mix-and-match", help="agents from simple to complex, of which a mixture acts (Mix & Match)"
    )
    mix_and_match_cli.add_arguments(mix_and_match)
    mix_and_match.set_defaults(train=mix_and_match_cli.run)
    online = kinds.add_parser(
        "online", help="one skill by AWAC or a rival of it, without the graph"
    )
    online_training.add_arguments(online)
    online.set_defaults(train=online_training.run)
    perception = kinds.add_parser("perception", help="the pose network, on synthetic images")
    perception_training.add_arguments(perception)
    perception.set_defaults(train=perception_training.run)


def run(args: argparse.Namespace) -> int:
    """Train what was asked for."""
    return args.train(args)


def _run_bc(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    config = BcConfig.load(args.config)
    if args.iterations:
        config = replace(config, iterations=args.iterations)
    names = [*SKILLS, "gate"] if args.all else ["gate"] if args.gate else [check_skill(args.skill)]
    for name in names:
        folder = args.demonstrations / name
        episodes = load_episodes(folder, successful=True)
        checkpoint = args.runs / f"{name}_{args.seed}.pt"
        if name == "gate":
            network, metrics = train_gate(episodes, config, args.seed, checkpoint)
            path, output = args.output / f"{GATE_NAME}.onnx", "weights"
        else:
            network, metrics = train_expert(episodes, name, config, args.seed, checkpoint)
            path, output = args.output / f"{name}.onnx", "action"
        export_onnx(network, path, torch.rand(64, network.num_inputs), "observation", output)
        write_manifest(
            path,
            command=shlex.join(["moe-robot-control", *sys.argv[1:]]),
            seed=args.seed,
            data_sha256=hash_episodes(folder),
            metrics=metrics,
        )
        print(f"{path}: " + ", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    return 0
