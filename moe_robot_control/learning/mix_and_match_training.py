"""Trains a curriculum of agents, by schedule or by population, and keeps what came of it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from moe_robot_control.learning.agents import Agent, FeedForward, GaussianAgent
from moe_robot_control.learning.curricula import Curriculum, DeployableActor, build_curriculum
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.mix_and_match_config import (
    MixAndMatchConfig,
    PopulationConfig,
    load_mix_and_match_config,
)
from moe_robot_control.learning.mix_and_match_trainer import (
    MixAndMatchTrainer,
    from_bytes,
    to_bytes,
)
from moe_robot_control.learning.multitask_training import DeployedPolicy
from moe_robot_control.learning.networks import num_parameters
from moe_robot_control.learning.population import Event, Explored, Population, Progress, Work
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.task_suites import EVALUATION_SEED, TaskSuite
from moe_robot_control.manifest import sha256_of, write_manifest
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    SHARED_OBSERVATION_SIZE,
    expert_observation_size,
)
from moe_robot_control.share import share_path

POPULATION = "population"
"""The method whose alpha is found by population-based training."""
AGENTS = "agents.pt"
"""File of the trained agents, from simple to complex."""
_PERIOD = 1000
"""Seeds between the episodes of one interval's scores and the next's."""


def train(args: argparse.Namespace) -> int:
    """Train the agents of one curriculum by one method.

    Raises:
        MoeRobotControlError: unknown curriculum, method or skill, unusable settings, workers that
            die over and over.
    """
    if args.seed < 0 or args.threads < 0:
        raise TrainingError("--seed and --threads must not be negative")
    overrides: dict[str, Any] = {}
    if args.steps is not None:
        overrides["steps"] = args.steps
    if args.skill is not None:
        overrides["skill"] = args.skill
    config, population = load_mix_and_match_config(
        args.curriculum, args.method, args.config, overrides
    )
    if args.method != POPULATION and (args.resume or args.address or args.deterministic):
        raise TrainingError(
            f"--resume, --address and --deterministic are for --method {POPULATION}: other "
            "trainings go on from their checkpoint by themselves"
        )
    torch.set_num_threads(1)
    name = f"{args.curriculum}_{args.method}_{args.seed}"
    runs = args.runs / name
    curriculum = build_curriculum(args.curriculum, config, args.threads)
    trainer = MixAndMatchTrainer(curriculum, config, args.seed)
    metrics: dict[str, Any] = {}
    if args.method == POPULATION:
        metrics |= _evolve(args, config, population, runs, trainer)
    else:
        trainer.run(runs)
    _keep(args, trainer, config, args.output / name, metrics)
    return 0


@dataclass(frozen=True)
class MemberTraining:
    """Trains a member of a population for an interval; see `population.Train`."""

    curriculum: str
    config: MixAndMatchConfig
    interval: int
    scores: int

    def __call__(self, work: Work) -> Progress:
        """In a worker's process, which keeps its environments for the next interval."""
        torch.set_num_threads(1)
        learner = replace(
            self.config.learner,
            learning_rate=work.settings["learning_rate"],
            entropy_weight=work.settings["entropy_weight"],
        )
        config = replace(self.config, learner=learner)
        curriculum, suites = _built(self.curriculum, self.config)
        trainer = MixAndMatchTrainer(curriculum, config, work.seed, suites)
        if work.state is not None:
            trainer.restore(from_bytes(work.state))
            trainer.reseed(work.seed)
        position = work.settings["alpha"] * (len(trainer.agents) - 1)
        trainer.advance(self.interval, lambda: position)
        if curriculum.judged_alone:
            # the same episodes for all members
            seed = EVALUATION_SEED + _PERIOD * (1 + work.interval)
            scores = trainer.returns_alone(self.scores, seed)
        else:
            scores = list(trainer.returns)[-self.scores :] or [0.0]
        return Progress(to_bytes(trainer.state()), scores, dict(trainer.curve[-1]))


@cache
def _built(name: str, config: MixAndMatchConfig) -> tuple[Curriculum, dict[str, TaskSuite]]:
    return build_curriculum(name, config, num_threads=1), {}


def first_settings(
    config: MixAndMatchConfig, population: PopulationConfig, seed: int
) -> list[dict[str, float]]:
    """With which members begin: alpha near 0, the others about the config's."""
    rng = np.random.default_rng([seed, 7])
    found = []
    for _ in range(population.members):
        rate, entropy = population.factor ** rng.uniform(-2.0, 2.0, 2)
        found.append(
            {
                "alpha": float(rng.uniform(0.0, population.alpha_step)),
                "learning_rate": float(config.learner.learning_rate * rate),
                "entropy_weight": float(config.learner.entropy_weight * entropy),
            }
        )
    return found


def explored(population: PopulationConfig) -> dict[str, Explored]:
    """How a population explores."""
    return {
        "alpha": Explored(step=population.alpha_step, low=0.0, high=1.0),
        "learning_rate": Explored(factor=population.factor, low=1e-5, high=1e-2),
        "entropy_weight": Explored(factor=population.factor, low=0.0, high=0.1),
    }


def _evolve(
    args: argparse.Namespace,
    config: MixAndMatchConfig,
    population: PopulationConfig,
    folder: Path,
    trainer: MixAndMatchTrainer,
) -> dict[str, Any]:
    intervals = -(-config.steps // population.interval)
    with tqdm(
        desc=f"{args.curriculum} {POPULATION}", unit="interval",
        total=intervals * population.members, mininterval=1.0,
    ) as bar:  # fmt: skip

        def tell(event: Event) -> None:
            bar.update()
            copied = "" if event.parent == event.member else f" goes on from {event.parent}"
            bar.write(
                f"member {event.member} interval {event.interval}: "
                f"alpha {event.settings['alpha']:.2f}, return {event.score:.2f}{copied}"
            )

        whole = Population(
            MemberTraining(args.curriculum, config, population.interval, population.scores),
            first_settings(config, population, args.seed),
            explored(population),
            intervals,
            args.seed,
            folder,
            population.significance,
            args.deterministic,
            args.resume,
            args.address,
            tell,
        )
        bar.update(len(whole.lineage))
        lineage = whole.run()
    best = whole.best()
    trainer.restore(from_bytes(whole.state_of(best)))
    return {
        "members": population.members,
        "best": best,
        "lineage": [
            {
                "member": e.member,
                "interval": e.interval,
                "parent": e.parent,
                "score": e.score,
                **e.settings,
            }
            for e in lineage
        ],
    }


def _keep(
    args: argparse.Namespace,
    trainer: MixAndMatchTrainer,
    config: MixAndMatchConfig,
    folder: Path,
    metrics: dict[str, Any],
) -> None:
    """Write the agents, and the last one as a network where it needs no memory."""
    curriculum = trainer.curriculum
    settings = args.config or share_path("config/training/mix_and_match.yaml")
    about = {
        "command": shlex.join(["moe-robot-control", *sys.argv[1:]]),
        "seed": args.seed,
        "data_sha256": sha256_of(settings),
        "metrics": {
            "curriculum": args.curriculum,
            "method": args.method,
            "skill": config.skill if len(curriculum.tasks) == 1 else "",
            "environment_steps": trainer.steps,
            "seconds": round(trainer.seconds, 1),
            "parameters": [num_parameters(agent) for agent in trainer.agents],
            "tasks": list(curriculum.tasks),
            "curve": trainer.curve,
        }
        | metrics,
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save([agent.state_dict() for agent in trainer.agents], folder / AGENTS)
    write_manifest(folder / AGENTS, **about)
    last = trainer.agents[-1]
    if isinstance(last, GaussianAgent) and isinstance(last.trunk, FeedForward):
        policy = deployed_policy(curriculum, last)
        name = "mix_and_match" if len(curriculum.tasks) > 1 else config.skill
        path = folder / f"{name}.onnx"
        export_onnx(policy, path, _example(policy, curriculum), "observation", "action")
        write_manifest(path, **about)
    success = dict(zip(curriculum.tasks, trainer.curve[-1]["last"], strict=True))
    print(f"{folder}: " + ", ".join(f"{task} {share:.0%}" for task, share in success.items()))


def load_agents(path: Path, agents: Sequence[Agent]) -> None:
    """Give agents the weights that a training kept.

    Raises:
        TrainingError: unreadable, or of other agents.
    """
    try:
        states = torch.load(path, weights_only=True)
        for agent, state in zip(agents, states, strict=True):
            agent.load_state_dict(state)
    except Exception as error:  # PyTorch raises many kinds
        raise TrainingError(f"{path}: unusable: {error}") from error


def deployed_policy(curriculum: Curriculum, agent: GaussianAgent) -> DeployedPolicy:
    """The last agent as an expert of one skill, or as one of all skills."""
    count = len(curriculum.tasks)
    size = SHARED_OBSERVATION_SIZE
    own = size if count > 1 else expert_observation_size(curriculum.tasks[0])
    actor = DeployableActor(agent, several_tasks=count > 1)
    return DeployedPolicy(actor, count, size, own, ACTION_LOW, ACTION_HIGH).eval()


def _example(policy: DeployedPolicy, curriculum: Curriculum) -> torch.Tensor:
    count = len(curriculum.tasks)
    example = torch.rand(64, policy.num_inputs)
    if count > 1:
        example[:, -count:] = torch.eye(count)[torch.arange(64) % count]
    return example
