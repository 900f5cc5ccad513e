"""`moe-robot-control train roman`: experts and manipulation network by the hybrid procedure."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from moe_robot_control.demonstrations.episode import hash_episodes, load_episodes
from moe_robot_control.learning.bc import BcConfig, train_expert, train_gate, train_monolithic
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.networks import (
    ExpertNetwork,
    GateNetwork,
    MonolithicNetwork,
    num_parameters,
)
from moe_robot_control.learning.problems import (
    Problem,
    expert_problem,
    gate_problem,
    monolithic_problem,
)
from moe_robot_control.learning.roman import HybridTrainer
from moe_robot_control.learning.roman_config import HybridConfig, load_hybrid_config
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.sparse_gate import SparseGateNetwork
from moe_robot_control.manifest import sha256_of, write_manifest
from moe_robot_control.policies.runtime import GATE_NAME, MONOLITHIC_NAME, load_experts
from moe_robot_control.policies.spaces import SKILLS, check_skill

GATE, MONOLITHIC = "gate", "monolithic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train roman`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--skill", help=f"one expert: {', '.join(SKILLS)}")
    what.add_argument("--gate", action="store_true", help="the manipulation network")
    what.add_argument("--all", action="store_true", help="all experts, then the network")
    what.add_argument(
        "--monolithic", action="store_true", help="the rival: one network of as many parameters"
    )
    parser.add_argument("--variant", help="an ablation of config/training/roman.yaml")
    parser.add_argument("--demonstrations", type=Path, default=Path("data/demonstrations"))
    parser.add_argument("--output", type=Path, help="folder (models/policies)")
    parser.add_argument("--experts", type=Path, help="frozen experts of the gate (the output)")
    parser.add_argument("--config", type=Path, help="instead of config/training/roman.yaml")
    parser.add_argument("--steps", type=int, help="environment steps instead of the config's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="experts that learn side by side")
    parser.add_argument("--runs", type=Path, default=Path("runs/roman"), help="checkpoints, logs")


def run(args: argparse.Namespace) -> int:
    """Train what was asked for.

    Raises:
        MoeRobotControlError: unknown skill or variant, unusable settings, demonstrations or
            experts.
    """
    if args.jobs < 1:
        raise TrainingError(f"--jobs must be 1 or more, not {args.jobs}")
    if args.steps is not None and args.steps < 0:
        raise TrainingError(f"--steps must not be negative, but is {args.steps}")
    if args.output is None:
        if args.variant or args.monolithic:
            raise TrainingError("--variant and --monolithic need --output")
        args.output = Path("models/policies")
    if args.skill is not None:
        experts, rest = [check_skill(args.skill)], []
    else:
        experts = list(SKILLS) if args.all else []
        rest = [MONOLITHIC] if args.monolithic else [GATE]
    for name in (*experts, *rest):
        _config(args, name)  # errors come before hours of training
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    if args.jobs == 1:
        for name in experts:
            _train(args, name, command)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, context) as pool:
            list(pool.map(_train_beside, [(args, name, command) for name in experts]))
    for name in rest:
        _train(args, name, command)
    return 0


def _config(args: argparse.Namespace, name: str) -> HybridConfig:
    overrides = None if args.steps is None else {"steps": args.steps}
    return load_hybrid_config(name, args.config, args.variant, overrides)


def _train_beside(job: tuple[argparse.Namespace, str, str]) -> None:
    args, name, command = job
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    _train(args, name, command, threads, SKILLS.index(name) % args.jobs)


def _train(
    args: argparse.Namespace, name: str, command: str, num_threads: int = 0, position: int = 0
) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()
    config, cloning = _config(args, name), BcConfig.load()
    runs = args.runs / (args.variant or "roman") / f"{name}_{args.seed}"
    problem, metrics = _begin(args, name, config, cloning, runs, num_threads)
    cloning_seconds = time.monotonic() - start
    trainer = HybridTrainer(problem, config, cloning, args.seed, runs, position)
    network = trainer.run()
    output = "weights" if name == GATE else "action"
    path = args.output / f"{_file_name(name)}.onnx"
    export_onnx(network, path, torch.rand(64, network.num_inputs), "observation", output)
    data = args.demonstrations if name == MONOLITHIC else args.demonstrations / name
    metrics |= {
        "environment_steps": trainer.steps,
        "seconds": round(cloning_seconds + trainer.seconds, 1),
        "parameters": num_parameters(network),
        "validated_success": trainer.curve,
    }
    write_manifest(path, command, args.seed, hash_episodes(data), metrics)
    tail = ", ".join(f"{share:.1%} at {steps:,}" for steps, share in trainer.curve)
    print(f"{path}: success in validation {tail}")


def _begin(
    args: argparse.Namespace,
    name: str,
    config: HybridConfig,
    cloning: BcConfig,
    runs: Path,
    num_threads: int,
) -> tuple[Problem, dict]:
    """The network as cloning leaves it, or untrained, in its problem."""
    folder = args.demonstrations if name == MONOLITHIC else args.demonstrations / name
    episodes = load_episodes(folder, successful=True)
    checkpoint = runs / "cloning.pt"
    torch.manual_seed(args.seed)
    metrics: dict = {}
    if name == GATE:
        experts = args.experts or args.output
        load_experts(experts)  # unusable ones are named before cloning begins
        k = config.top_k if config.noisy_top_k else None
        network = GateNetwork(cloning.width)
        if k is not None:
            network = SparseGateNetwork(cloning.width, k=k)
        if config.bc_start:
            network, metrics = train_gate(episodes, cloning, args.seed, checkpoint, k)
        # the draws explore; noise in the gate would be a second source
        network.eval()
        problem = gate_problem(network, episodes, experts, config, num_threads)
        problem.origin += " ".join(sha256_of(experts / f"{skill}.onnx") for skill in SKILLS)
        return problem, metrics
    if name == MONOLITHIC:
        width = monolithic_width(cloning)
        network = MonolithicNetwork(width, cloning.depth)
        if config.bc_start:
            network, metrics = train_monolithic(episodes, width, cloning, args.seed, checkpoint)
        return monolithic_problem(network, episodes, config, num_threads), metrics
    network = ExpertNetwork(name, cloning.width, cloning.depth)
    if config.bc_start:
        network, metrics = train_expert(episodes, name, cloning, args.seed, checkpoint)
    return expert_problem(name, network, episodes, config, num_threads), metrics


def monolithic_width(cloning: BcConfig) -> int:
    """Hidden units with which one network has as many parameters as experts and gate together."""
    experts = [ExpertNetwork(skill, cloning.width, cloning.depth) for skill in SKILLS]
    wanted = sum(map(num_parameters, [*experts, GateNetwork(cloning.width)]))
    width = cloning.width
    while num_parameters(MonolithicNetwork(width + 1, cloning.depth)) <= wanted:
        width += 1
    return width


def _file_name(name: str) -> str:
    return {GATE: GATE_NAME, MONOLITHIC: MONOLITHIC_NAME}.get(name, name)
