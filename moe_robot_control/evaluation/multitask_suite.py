"""What `moe-robot-control evaluate multitask` measures: trained policies, task by task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.csv_files import read_csv, write_csv
from moe_robot_control.evaluation.policies_in_simulation import expert, run_in_simulation
from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.metaworld_suite import MT10, MetaworldSuite
from moe_robot_control.learning.multitask_config import SINGLE, SUITES
from moe_robot_control.learning.task_suites import TaskSuite, success_of
from moe_robot_control.manifest import manifest_path, read_manifest
from moe_robot_control.policies.runtime import OnnxPolicy
from moe_robot_control.policies.spaces import (
    ACTION_SIZE,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    expert_observation_size,
    unit_action,
)
from moe_robot_control.world.observers import PERCEPTION_ERRORS

FIRST_SEED = 20_000
"""Of the episodes."""
METHODS: dict[str, str] = {
    "soft_modular": "Soft Modularization",
    "multi_task": "multi-task SAC",
    "multi_head": "multi-head SAC",
    "mixture_of_experts": "mixture of experts",
    "hard_routing": "hard routing",
    SINGLE: "single-task SAC (a network each)",
    "without_balance": "Soft Modularization without balance weights",
    "without_state": "Soft Modularization, routing without the state",
}
"""Names of the methods in tables."""


class MultiTaskEvaluationError(MoeRobotControlError):
    """Nothing that could be measured."""


@dataclass(frozen=True)
class Trained:
    """What one training made.

    Attributes:
        suite: out of `SUITES`.
        method: out of `METHODS`.
        seed: of the training.
        folder: of its ONNX files.
    """

    suite: str
    method: str
    seed: int
    folder: Path

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of its suite."""
        return SKILLS if self.suite == "bench" else MT10

    def model(self, task: str) -> Path:
        """The ONNX file that does a task."""
        return self.folder / f"{task if self.method == SINGLE else self.method}.onnx"

    @property
    def models(self) -> list[Path]:
        """All of them, each once."""
        return list(dict.fromkeys(self.model(task) for task in self.tasks))

    @property
    def hash(self) -> str:
        """Short hash of the models."""
        digest = hashlib.sha256()
        for path in self.models:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def metrics(self) -> list[dict]:
        """Those of each model's manifest.

        Raises:
            ManifestError: one is missing or malformed.
        """
        return [read_manifest(path)["metrics"] for path in self.models]

    @property
    def environment_steps(self) -> int:
        """Of the training, of all tasks together."""
        return sum(part["environment_steps"] for part in self.metrics())


@dataclass(frozen=True)
class TaskResult:
    """How often one training's policy did one task.

    Attributes:
        suite, method, seed: of the training.
        task: of its suite.
        success, episodes: how many succeeded, out of how many.
        models: hash of what was measured.
    """

    suite: str
    method: str
    seed: int
    task: str
    success: int
    episodes: int
    models: str

    @property
    def share(self) -> float:
        """Success as a share."""
        return self.success / self.episodes


def find_trained(folders: dict[str, Path]) -> list[Trained]:
    """All complete trainings, in the order of `METHODS`, then of seeds.

    Args:
        folders: of each suite; in them one folder `<method>_<seed>` a training.

    Raises:
        MultiTaskEvaluationError: there is none.
    """
    found = []
    for suite in SUITES:
        for method in METHODS:
            for folder in sorted(folders[suite].glob(f"{method}_*")):
                seed = folder.name.removeprefix(f"{method}_")
                if not seed.isdigit():
                    continue
                trained = Trained(suite, method, int(seed), folder)
                if all(path.is_file() and manifest_path(path).is_file() for path in trained.models):
                    found.append(trained)
    if not found:
        places = " and ".join(map(str, folders.values()))
        raise MultiTaskEvaluationError(f"no trained policies in {places}: see train multitask")
    return found


def measure(
    trained: Trained, episodes: int, metaworld_python: Path, num_threads: int = 0
) -> list[TaskResult]:
    """Run a training's policy in every task of its suite.

    Args:
        trained: what to run.
        episodes: of each task, from `FIRST_SEED` on.
        metaworld_python: interpreter that has Meta-World.
        num_threads: that step the bench's environments; 0 uses every core.

    Raises:
        PolicyLoadError: a model is unusable.
        TrainingError: Meta-World is not there.
    """
    if trained.suite == "bench":
        successes = _on_bench(trained, episodes, num_threads)
    else:
        successes = _on_mt10(trained, episodes, metaworld_python)
    models = trained.hash
    return [
        TaskResult(trained.suite, trained.method, trained.seed, task, count, episodes, models)
        for task, count in zip(trained.tasks, successes, strict=True)
    ]


def _on_bench(trained: Trained, episodes: int, num_threads: int) -> list[int]:
    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    shared = "" if trained.method == SINGLE else trained.method
    counts = []
    for skill in trained.tasks:
        outcomes = run_in_simulation(
            expert(trained.folder, skill, shared),
            seeds,
            skill=skill,
            errors=PERCEPTION_ERRORS,
            num_threads=num_threads,
        )
        counts.append(sum(outcome.success for outcome in outcomes))
    return counts


def _on_mt10(trained: Trained, episodes: int, metaworld_python: Path) -> list[int]:
    suite = suite_of(trained, episodes, metaworld_python)
    shares = success_of(suite, policy_of(trained), FIRST_SEED)
    return [round(share * episodes) for share in shares]


def suite_of(trained: Trained, num_envs: int, metaworld_python: Path) -> TaskSuite:
    """The tasks of a training, with `num_envs` environments each.

    Raises:
        TrainingError: Meta-World is not there.
    """
    if trained.suite == "bench":
        return BenchSuite(num_envs, trained.tasks)
    return MetaworldSuite(num_envs, trained.tasks, metaworld_python)


def policy_of(trained: Trained) -> Callable[[np.ndarray], np.ndarray]:
    """From states of all tasks of its suite, (M, n, d), to actions in [-1, 1], (M, n, a).

    Raises:
        PolicyLoadError: a model is unusable.
    """
    tasks = trained.tasks
    on_bench = trained.suite == "bench"
    size = SHARED_OBSERVATION_SIZE if on_bench else MetaworldSuite.num_inputs
    if trained.method == SINGLE:
        sizes = [expert_observation_size(task) if on_bench else size for task in tasks]
        policies = [
            OnnxPolicy(trained.model(task), own, ACTION_SIZE)
            for task, own in zip(tasks, sizes, strict=True)
        ]
        inputs_of = [lambda x, own=own: x[:, :own] for own in sizes]
    else:
        policies = [OnnxPolicy(trained.models[0], size + len(tasks), ACTION_SIZE)] * len(tasks)
        inputs_of = [
            lambda x, task=task: np.concatenate([x, np.tile(task, (len(x), 1))], axis=1)
            for task in np.eye(len(tasks))
        ]

    def act(states: np.ndarray) -> np.ndarray:
        answers = [
            policy(inputs(own))
            for policy, inputs, own in zip(policies, inputs_of, states, strict=True)
        ]
        return unit_action(np.stack(answers)) if on_bench else np.stack(answers)

    return act


def read_results(path: Path) -> list[TaskResult]:
    """The lines of a CSV file; none if there is no file.

    Raises:
        MultiTaskEvaluationError: malformed.
    """
    lines = read_csv(path)
    try:
        return [
            TaskResult(
                **{
                    field.name: int(line[field.name])
                    if field.name in ("seed", "success", "episodes")
                    else line[field.name]
                    for field in fields(TaskResult)
                }
            )
            for line in lines
        ]
    except (KeyError, ValueError) as error:
        raise MultiTaskEvaluationError(f"{path}: not a file of results; delete it") from error


def write_results(path: Path, results: Iterable[TaskResult]) -> None:
    """Write the CSV file, replacing it at once."""
    names = [field.name for field in fields(TaskResult)]
    write_csv(path, names, map(asdict, results))


def missing(trained: Trained, episodes: int, results: Sequence[TaskResult]) -> bool:
    """Whether a training has not been measured yet, with so many episodes."""
    about = (trained.suite, trained.method, trained.seed, trained.hash)
    measured = {
        result.task
        for result in results
        if (result.suite, result.method, result.seed, result.models) == about
        and result.episodes == episodes
    }
    return measured != set(trained.tasks)
