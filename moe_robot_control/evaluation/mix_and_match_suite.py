"""What `moe-robot-control evaluate mix-and-match` measures: trained agents of a curriculum."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.learning.curricula import build_curriculum
from moe_robot_control.learning.mix_and_match_config import CURRICULA, load_mix_and_match_config
from moe_robot_control.learning.mix_and_match_trainer import MixAndMatchTrainer
from moe_robot_control.learning.mix_and_match_training import AGENTS, load_agents
from moe_robot_control.manifest import verify_manifest

FIRST_SEED = 80_000
"""Of the episodes; those of the trainings' own evaluations are others."""
METHODS: dict[str, str] = {
    "simple": "the simple agent alone",
    "complex": "the complex agent alone",
    "distillation": "distillation alone",
    "mix_and_match": "Mix & Match, alpha by schedule",
    "population": "Mix & Match, alpha by population",
}
"""Names of the methods in tables."""
GOAL = 0.8
"""Success whose cost in steps is compared."""


class MixAndMatchEvaluationError(MoeRobotControlError):
    """Nothing that could be measured."""


@dataclass(frozen=True)
class Trained:
    """What one training made.

    Attributes:
        curriculum: out of `CURRICULA`.
        method: out of `METHODS`.
        seed: of the training.
        folder: of its agents and their manifest.
    """

    curriculum: str
    method: str
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """Unlike any other training's."""
        return f"{self.curriculum}_{self.method}_{self.seed}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """That of the agents.

        Raises:
            ManifestError: missing, malformed, or of another file.
        """
        return verify_manifest(self.folder / AGENTS)

    @property
    def metrics(self) -> dict[str, Any]:
        """What the training measured."""
        return self.manifest["metrics"]

    @property
    def steps(self) -> np.ndarray:
        """Environment steps at the training's evaluations."""
        return np.array([point["steps"] for point in self.metrics["curve"]])

    def success(self, of: str) -> np.ndarray:
        """Of the `mixture` or of the `last` agent at those evaluations. Shape (points, M)."""
        return np.array([point[of] for point in self.metrics["curve"]])

    def steps_to(self, goal: float = GOAL, of: str = "mixture") -> int | None:
        """Steps at the first evaluation whose mean success reaches `goal`; None if none does."""
        reached = np.flatnonzero(self.success(of).mean(axis=1) >= goal)
        return int(self.steps[reached[0]]) if len(reached) else None


@dataclass(frozen=True)
class Result:
    """How often the last agent alone succeeded in each task, on episodes nobody has seen."""

    name: str
    model: str
    episodes: int
    successes: dict[str, int]

    @property
    def share(self) -> float:
        """Mean over the tasks."""
        return sum(self.successes.values()) / (self.episodes * len(self.successes))

    @property
    def lowest(self) -> float:
        """Of the task that succeeds least."""
        return min(self.successes.values()) / self.episodes


def find_trained(folder: Path) -> list[Trained]:
    """All trainings in a folder, in the order of curricula, methods and seeds.

    Raises:
        MixAndMatchEvaluationError: there are none.
    """
    found = []
    for curriculum in CURRICULA:
        for method in METHODS:
            paths = folder.glob(f"{curriculum}_{method}_*/{AGENTS}")
            seeds = [path.parent.name.rpartition("_")[2] for path in paths]
            for seed in sorted(int(text) for text in seeds if text.isdigit()):
                own = folder / f"{curriculum}_{method}_{seed}"
                found.append(Trained(curriculum, method, seed, own))
    if not found:
        raise MixAndMatchEvaluationError(f"{folder}: no trained agents; see `train mix-and-match`")
    return found


def measure(trained: Trained, episodes: int) -> Result:
    """Let the last agent act alone.

    Raises:
        MoeRobotControlError: unusable agents, or settings that are not theirs.
    """
    overrides = {"skill": trained.metrics["skill"]} if trained.metrics["skill"] else {}
    config, _ = load_mix_and_match_config(trained.curriculum, trained.method, overrides=overrides)
    curriculum = build_curriculum(trained.curriculum, config)
    trainer = MixAndMatchTrainer(curriculum, config, 0)
    load_agents(trained.folder / AGENTS, trainer.agents)
    shares = trainer.success(len(trainer.agents) - 1.0, episodes, FIRST_SEED)
    counts = {
        task: round(float(share) * episodes)
        for task, share in zip(curriculum.tasks, shares, strict=True)
    }
    return Result(trained.name, trained.manifest["onnx_sha256"], episodes, counts)


def read_results(path: Path) -> list[Result]:
    """Results written before; none where there is no file.

    Raises:
        MixAndMatchEvaluationError: unreadable.
    """
    if not path.is_file():
        return []
    try:
        return [Result(**row) for row in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise MixAndMatchEvaluationError(f"{path}: not a file of results; delete it") from error


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def curves(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """All points of all trainings, for a table."""
    return [
        {
            "curriculum": one.curriculum,
            "method": one.method,
            "seed": one.seed,
            "steps": point["steps"],
            "position": round(point["position"], 4),
            "mixture": round(float(np.mean(point["mixture"])), 4),
            "last": round(float(np.mean(point["last"])), 4),
            "lowest": round(float(np.min(point["last"])), 4),
        }
        for one in trained
        for point in one.metrics["curve"]
    ]
