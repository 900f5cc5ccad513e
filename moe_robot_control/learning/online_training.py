"""`moe-robot-control train online`: AWAC and its rivals, one skill, without the graph.

The environment gives the very trajectories of the lockstep graph (`test/graph/test_episodes.py`),
and procedure, seeds and transitions are those of `moe-robot-control finetune`; only the
exploration's draws are others. So rivals need not run through the graph.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from moe_robot_control.demonstrations.episode import hash_episodes, load_episodes
from moe_robot_control.learning.awac_config import load_fine_tuning_config
from moe_robot_control.learning.checkpoints import CHECKPOINT
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.fine_tuning import EVALUATION_SEED, exploration_seed
from moe_robot_control.learning.rivals import METHODS, Material, Rival
from moe_robot_control.learning.rivals_config import load_rivals_config
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.transitions import Collector, TransitionLog
from moe_robot_control.manifest import write_manifest
from moe_robot_control.policies.spaces import (
    SKILLS,
    check_skill,
    command_of,
    expert_observation,
    expert_observation_size,
)
from moe_robot_control.world.envs import BenchVectorEnv

Act = Callable[[Tensor], Tensor]
"""From states, (n, d), to actions in [-1, 1], (n, 4), or beyond: they are clipped."""
CLONING = "bc"
"""The method that has no online phase."""


class SimulatedRobot:
    """One robot that lives episodes of a skill, and copies of it for evaluations."""

    def __init__(self, skill: str, evaluation_episodes: int) -> None:
        """Build the environments; success ends an episode, and is its only reward."""

        def env(count: int) -> BenchVectorEnv:
            return BenchVectorEnv(count, skill=skill, reward="sparse", num_threads=1)

        self._one, self._several = env(1), env(evaluation_episodes)

    def live(self, act: Act, seed: int, collector: Collector) -> bool:
        """Live one episode, to be collected; returns whether it succeeded."""
        state, _ = self._one.reset(seed=[seed])
        step = 0
        while True:
            collector.observe(step, state[0])
            action = _answer(act, state)
            collector.act(step, action[0])
            state, _, terminated, truncated, info = self._one.step(command_of(action))
            step += 1
            if terminated[0] or truncated[0]:
                success = bool(info["success"][0])
                collector.end(success, terminated=bool(terminated[0]))
                return success

    def success(self, act: Act, seed: int) -> float:
        """Share of episodes that succeed, from `seed` on, one for each environment."""
        env = self._several
        state, _ = env.reset(seed=seed)
        running, won = np.ones(env.num_envs, dtype=bool), np.zeros(env.num_envs, dtype=bool)
        while running.any():
            state, _, terminated, truncated, info = env.step(command_of(_answer(act, state)))
            ended = running & (terminated | truncated)
            won |= ended & info["success"]
            running &= ~ended
            env.stop(ended)
        return float(won.mean())


def _answer(act: Act, state: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        actions = act(torch.from_numpy(state.astype(np.float32)))
    return np.clip(actions.numpy(), -1.0, 1.0)


def train(
    rival: Rival,
    robot: SimulatedRobot,
    log: TransitionLog,
    seed: int,
    episodes: int,
    evaluate_every: int,
    tell: Callable[[str], None] = lambda text: None,
) -> list[tuple[int, int, float, float]]:
    """Pre-train, then alternate between episodes, learning and evaluations.

    Args:
        rival: to be trained.
        robot: that it acts on.
        log: of its transitions, empty; the one that the rival learns from.
        seed: of the training.
        episodes: to explore in.
        evaluate_every: episodes.
        tell: called with a line at every evaluation.

    Returns:
        Episodes, own transitions, success and the acting policy's success at every evaluation.
    """
    rival.pretrain()
    collector = Collector(log)
    curve: list[tuple[int, int, float, float]] = []

    def evaluate(number: int) -> None:
        success = robot.success(lambda x: rival.act(x, exploring=False), EVALUATION_SEED)
        curve.append((number, len(log), success, rival.judged(success)))
        tell(f"after {number} episodes, {len(log)} transitions: {success:.0%} succeed")

    for number in range(episodes):
        if number % evaluate_every == 0:
            evaluate(number)
        before = len(log)
        collector.begin(number)
        robot.live(
            lambda x: rival.act(x, exploring=True), exploration_seed(seed, number), collector
        )
        rival.learn(len(log) - before)
    evaluate(episodes)
    return curve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train online`."""
    parser.add_argument("--skill", required=True, help=f"one of {', '.join(SKILLS)}")
    parser.add_argument("--method", required=True, help=f"one of {', '.join(METHODS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=200, help="to explore in")
    parser.add_argument("--evaluation-episodes", type=int, help="instead of the settings' number")
    parser.add_argument(
        "--demonstrations", type=Path, default=Path("data/operator"), help="a folder for each skill"
    )
    parser.add_argument("--output", type=Path, default=Path("data/awac"))
    parser.add_argument("--runs", type=Path, default=Path("runs/online"), help="logs, checkpoints")
    parser.add_argument("--config", type=Path, help="instead of config/training/awac.yaml")
    parser.add_argument("--rivals-config", type=Path, help="of config/training/rivals.yaml")


def run(args: argparse.Namespace) -> int:
    """Train one method on one skill, from the beginning; what is there already is replaced.

    Raises:
        MoeRobotControlError: unknown skill or method, unusable settings or demonstrations.
    """
    skill, method = check_skill(args.skill), args.method
    if method not in METHODS:
        raise TrainingError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}")
    if args.episodes < 0 or args.seed < 0:
        raise TrainingError("--episodes and --seed must not be negative")
    count = args.evaluation_episodes
    overrides = {} if count is None else {"evaluation_episodes": count}
    config = load_fine_tuning_config(skill, args.config, overrides)
    rivals = load_rivals_config(args.rivals_config)
    demonstrations = args.demonstrations / skill
    episodes = load_episodes(demonstrations)
    torch.set_num_threads(1)
    name = f"{method}_{skill}_{args.seed}"
    runs = args.runs / name
    for left in ("transitions", CHECKPOINT):
        (runs / left).unlink(missing_ok=True)
    log = TransitionLog(runs / "transitions", expert_observation_size(skill))
    rival = METHODS[method](Material(skill, episodes, log, args.seed, runs, config, rivals))
    torch.manual_seed(args.seed)
    robot = SimulatedRobot(skill, config.evaluation_episodes)
    curve = train(
        rival,
        robot,
        log,
        args.seed,
        0 if method == CLONING else args.episodes,
        config.evaluate_every,
        lambda line: tqdm.write(f"{name}: {line}"),
    )
    log.close()
    path = args.output / name / f"{skill}.onnx"
    example = torch.from_numpy(expert_observation(episodes[0].scene, skill)[:64]).float()
    export_onnx(rival.deployed(), path, example, "observation", "action")
    metrics: dict[str, Any] = {"through": "simulation", "episodes": curve[-1][0], "curve": curve}
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    write_manifest(path, command, args.seed, hash_episodes(demonstrations), metrics)
    print(f"{path}: {curve[-1][3]:.0%} succeed")
    return 0
