"""Multi-task SAC on a suite of tasks: collect, update, evaluate; resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from moe_robot_control.learning.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint
from moe_robot_control.learning.multitask_networks import (
    GatedExpertsNetwork,
    MultiHeadNetwork,
    MultiTaskNetwork,
)
from moe_robot_control.learning.sac import Batch, MakeNetwork, Replay, SacConfig, SacLearner
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.soft_modularization import SoftModularNetwork
from moe_robot_control.learning.task_suites import (
    DEMONSTRATION_SEED,
    EVALUATION_SEED,
    Step,
    TaskSuite,
    run_episodes,
    success_of,
)

NOISE_MEMORY = 0.8
"""Of the noise on demonstrated actions, from step to step."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of actor and critics.

    Attributes:
        kind: multi_task, multi_head, mixture_of_experts, hard_routing or soft_modular.
        width: units of a layer, or of a module's or expert's layer.
        depth: hidden layers (modular networks: layers of modules).
        modules: modules of a layer, or experts.
        feature_width: of the modular networks' state features.
        state_in_routing: the routing sees the state, too.
    """

    kind: str
    width: int
    depth: int
    modules: int = 4
    feature_width: int = 128
    state_in_routing: bool = True

    def build(self, num_inputs: int, num_tasks: int, num_outputs: int) -> nn.Module:
        """A network of a state and a task.

        Raises:
            TrainingError: unknown kind.
        """
        sizes = (num_inputs, num_tasks, num_outputs, self.width)
        if self.kind == "multi_task":
            return MultiTaskNetwork(*sizes, self.depth)
        if self.kind == "multi_head":
            return MultiHeadNetwork(*sizes, self.depth)
        if self.kind == "mixture_of_experts":
            return GatedExpertsNetwork(*sizes, self.depth, self.modules)
        if self.kind in ("hard_routing", "soft_modular"):
            return SoftModularNetwork(
                *sizes,
                self.modules,
                self.depth,
                (self.feature_width, 1),
                state_in_routing=self.state_in_routing,
                hard=self.kind == "hard_routing",
            )
        raise TrainingError(f"unknown kind of network {self.kind!r}")


@dataclass(frozen=True)
class MultiTaskConfig:
    """One training.

    Attributes:
        steps: environment steps of all tasks together.
        num_envs: environments of each task.
        replay: transitions kept of each task.
        random_steps: of each task with uniform actions, before learning begins.
        handed_over: share of the bench's episodes that begin where the skill before ended.
        demonstrations: of each task, of which half of every batch is drawn; 0 for none.
        demonstration_noise: standard deviation of the smooth noise that is added to the
            teacher's actions, so that demonstrations show how to recover.
        updates: of the networks for one step of all environments.
        evaluate_every: environment steps.
        evaluation_episodes: of each task.
        network: of actor and critics.
        sac: of the algorithm.
    """

    steps: int
    num_envs: int
    replay: int
    random_steps: int
    handed_over: float
    demonstrations: int
    demonstration_noise: float
    updates: int
    evaluate_every: int
    evaluation_episodes: int
    network: NetworkConfig
    sac: SacConfig


class Featured(nn.Module):
    """A network of features of a state, and of what follows the state in its input."""

    def __init__(
        self, network: nn.Module, features: Callable[[Tensor], Tensor], num_inputs: int
    ) -> None:
        super().__init__()
        self.network, self.features, self.num_inputs = network, features, num_inputs

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        features = self.features(x[:, : self.num_inputs])
        return self.network(torch.cat([features, x[:, self.num_inputs :]], dim=1), task)


class MultiTaskTrainer:
    """Trains one policy for all tasks of a suite.

    Attributes:
        learner: the networks.
        steps: environment steps taken, of all tasks together.
        curve: environment steps and each task's success in evaluation after them.
    """

    def __init__(
        self,
        make_suite: Callable[[int], TaskSuite],
        config: MultiTaskConfig,
        seed: int,
        folder: Path,
    ) -> None:
        """Build the networks, or take up a checkpoint of the same training.

        Args:
            make_suite: from the number of environments of each task.
            config: of the training.
            seed: of all randomness.
            folder: of the checkpoint and TensorBoard's logs.

        Raises:
            TrainingError: an unreadable checkpoint, an unknown kind of network.
        """
        self.config, self._seed, self._folder = config, seed, folder
        self._make_suite = make_suite
        self._unseen: TaskSuite | None = None
        self.suite = suite = make_suite(config.num_envs)
        num_tasks = len(suite.names)
        torch.manual_seed(seed)
        self.learner = SacLearner(
            suite.num_inputs, suite.num_actions, num_tasks, self._make_network(), config.sac
        )
        self._replay = Replay(num_tasks, config.replay, suite.num_inputs, suite.num_actions)
        self._tasks = torch.eye(num_tasks)
        self.steps = 0
        self.curve: list[tuple[int, list[float]]] = []
        self._seconds, self._since = 0.0, time.monotonic()
        self._resume()

    @property
    def seconds(self) -> float:
        """Time taken so far, that before interruptions included [s]."""
        return self._seconds + time.monotonic() - self._since

    def run(self) -> Featured:
        """Train to the end, and return the actor."""
        config, suite = self.config, self.suite
        # another sequence after an interruption
        rng = np.random.default_rng([self._seed, self.steps])
        torch.manual_seed(int(rng.integers(2**31)))
        states = suite.reset(int(rng.integers(2**31)))
        taken = len(suite.names) * config.num_envs
        with (
            SummaryWriter(self._folder / "tensorboard") as log,
            tqdm(
                desc=config.network.kind,
                unit="step",
                initial=self.steps,
                total=config.steps,
                mininterval=1.0,
            ) as bar,
        ):
            while self.steps < config.steps:
                states = self._collect(states, rng)
                self.steps += taken
                bar.update(taken)
                losses: dict[str, float] = {}
                if len(self._replay) >= config.random_steps:
                    self.learner.anneal(min(self.steps / config.steps, 1.0))
                    for _ in range(config.updates):
                        losses = self.learner.update(*self._sample(rng))
                last = self.curve[-1][0] if self.curve else 0
                if self.steps >= min(last + config.evaluate_every, config.steps):
                    self._report(log, losses)
                    bar.set_postfix(success=f"{np.mean(self.curve[-1][1]):.2f}")
                    self._save()
        actor = self.learner.actor
        assert isinstance(actor, Featured)
        return actor

    def evaluate(self, episodes: int, seed: int = EVALUATION_SEED) -> np.ndarray:
        """Success of the policy's best actions in each task. Shape (M,)."""
        if self._unseen is None or self._unseen.num_envs != episodes:
            self._unseen = self._make_suite(episodes)
        return success_of(self._unseen, lambda states: self._act(states, best=True), seed)

    def _collect(self, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shape = (*states.shape[:2], self.suite.num_actions)
        if len(self._replay) < self.config.random_steps:
            actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            actions = self._act(states)
        step = self.suite.step(actions)
        _remember(self._replay, states, actions, step, step.valid)
        return step.states

    def _sample(self, rng: np.random.Generator) -> tuple[Batch, Batch | None]:
        """Own transitions and, for half of the batch, demonstrated ones."""
        count = self.config.sac.batch
        if self._demonstrated is None:
            return self._replay.sample(count, rng), None
        shown = self._demonstrated.sample(count // 2, rng)
        return self._replay.sample(count - count // 2, rng), shown

    @cached_property
    def _demonstrated(self) -> Replay | None:
        """One noisy episode of the teacher in each of some environments."""
        config = self.config
        if not config.demonstrations:
            return None
        suite = self._make_suite(config.demonstrations)
        rng = np.random.default_rng([DEMONSTRATION_SEED, self._seed])
        shape = (len(suite.names), config.demonstrations)
        noise = np.zeros((*shape, suite.num_actions))

        def teach(states: np.ndarray) -> np.ndarray:
            nonlocal noise
            fresh = rng.normal(size=noise.shape) * math.sqrt(1.0 - NOISE_MEMORY**2)
            noise = NOISE_MEMORY * noise + config.demonstration_noise * fresh
            return np.clip(suite.teach() + noise, -1.0, 1.0).astype(np.float32)

        steps = list(run_episodes(suite, teach, DEMONSTRATION_SEED))
        replay = Replay(shape[0], len(steps) * shape[1], suite.num_inputs, suite.num_actions)
        for running, states, actions, step in steps:
            _remember(replay, states, actions, step, running)
        return replay

    def _act(self, states: np.ndarray, best: bool = False) -> np.ndarray:
        num_tasks, count = states.shape[:2]
        tasks = self._tasks.repeat_interleave(count, dim=0)
        flat = torch.from_numpy(states.reshape(num_tasks * count, -1))
        return self.learner.act(flat, tasks, best).numpy().reshape(num_tasks, count, -1)

    def _make_network(self) -> MakeNetwork:
        suite, network = self.suite, self.config.network
        own = suite.features(torch.zeros(1, suite.num_inputs)).shape[1] - suite.num_inputs

        def make(num_inputs: int, num_outputs: int) -> nn.Module:
            inner = network.build(num_inputs + own, len(suite.names), num_outputs)
            return Featured(inner, suite.features, suite.num_inputs)

        return make

    def _report(self, log: SummaryWriter, losses: dict[str, float]) -> None:
        self.learner.eval()
        success = self.evaluate(self.config.evaluation_episodes)
        self.learner.train()
        self.curve.append((self.steps, [float(share) for share in success]))
        for name, share in zip(self.suite.names, success, strict=True):
            log.add_scalar(f"success/{name}", share, self.steps)
        for name, value in losses.items():
            log.add_scalar(name, value, self.steps)

    def _about(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "seed": self._seed, "tasks": list(self.suite.names)}

    def _save(self) -> None:
        learner = self.learner
        replay = {name: torch.from_numpy(part) for name, part in self._replay.state().items()}
        state = {
            "steps": self.steps,
            "curve": self.curve,
            "seconds": self.seconds,
            "learner": learner.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in learner.optimisers],
            "replay": replay,
        }
        save_checkpoint(self._folder / CHECKPOINT, self._about(), state)

    def _resume(self) -> None:
        state = load_checkpoint(self._folder / CHECKPOINT, self._about())
        if state is None:
            return
        self.steps, self._seconds = state["steps"], state["seconds"]
        self.curve = [(steps, list(success)) for steps, success in state["curve"]]
        self.learner.load_state_dict(state["learner"])
        for optimiser, own in zip(self.learner.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(own)
        self._replay.restore({name: part.numpy() for name, part in state["replay"].items()})


def _remember(
    replay: Replay, states: np.ndarray, actions: np.ndarray, step: Step, valid: np.ndarray
) -> None:
    """Keep a step's valid transitions, (M, n)."""
    for task, rows in enumerate(valid):
        replay.add(
            task,
            states[task, rows],
            actions[task, rows],
            step.rewards[task, rows],
            step.states[task, rows],
            step.terminated[task, rows],
        )
