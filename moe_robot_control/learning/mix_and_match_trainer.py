"""Trains the agents of a curriculum by Mix & Match: collects, learns, evaluates, keeps."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from moe_robot_control.learning.agents import Agent
from moe_robot_control.learning.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint
from moe_robot_control.learning.curricula import Curriculum
from moe_robot_control.learning.mix_and_match import (
    MixAndMatchLearner,
    MixedPolicy,
    Sequences,
)
from moe_robot_control.learning.mix_and_match_config import MixAndMatchConfig
from moe_robot_control.learning.task_suites import EVALUATION_SEED, TaskSuite, run_episodes

CHECKPOINT_EVERY = 10
"""Updates."""


class MixAndMatchTrainer:
    """The agents of one curriculum, and all that their training has come to."""

    def __init__(
        self,
        curriculum: Curriculum,
        config: MixAndMatchConfig,
        seed: int,
        suites: dict[str, TaskSuite] | None = None,
    ) -> None:
        """Build everything; environments come when they are needed.

        Args:
            curriculum: tasks and agents.
            config: of the training.
            seed: of all randomness.
            suites: environments that an earlier trainer of the same curriculum has built.
        """
        self.curriculum, self.config, self._seed = curriculum, config, seed
        torch.manual_seed(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.agents: list[Agent] = curriculum.agents()
        self._learner = MixAndMatchLearner(self.agents, config.learner)
        self._suites = {} if suites is None else suites
        self.curve: list[dict[str, Any]] = []
        """At every evaluation: `steps`, `position`, and success of each task by the `mixture`
        and by the `last` agent alone."""
        self._updates = 0
        self.returns: deque[float] = deque(maxlen=1000)
        """Undiscounted returns of the mixture's latest episodes."""
        self._seconds, self._since = 0.0, time.monotonic()

    @property
    def steps(self) -> int:
        """Environment steps taken, of all environments together."""
        return self._updates * self._per_update

    @property
    def seconds(self) -> float:
        """Time taken so far, that before interruptions included [s]."""
        return self._seconds + time.monotonic() - self._since

    def scheduled_position(self) -> float:
        """Where the curriculum is by its schedule: rises linearly from 0 to K - 1."""
        config = self.config
        share = self.steps / config.steps
        risen = (share - config.alpha_start) / (config.alpha_end - config.alpha_start)
        return (len(self.agents) - 1) * min(max(risen, 0.0), 1.0)

    def run(self, folder: Path) -> None:
        """Train to the end by the schedule; goes on from the checkpoint in `folder`."""
        about = {"config": asdict(self.config), "seed": self._seed, "kind": self.curriculum.name}
        state = load_checkpoint(folder / CHECKPOINT, about)
        if state is not None:
            self.restore(state)
        name = f"{self.curriculum.name} {self._seed}"
        with tqdm(
            desc=name, unit="step", initial=self.steps, total=self.config.steps, mininterval=1.0
        ) as bar:

            def tell() -> None:
                bar.update(self.steps - bar.n)
                if self.curve:
                    last = self.curve[-1]
                    bar.set_postfix(
                        alpha=f"{last['position']:.2f}", success=f"{np.mean(last['mixture']):.2f}"
                    )
                if self._updates % CHECKPOINT_EVERY == 0 or self.steps >= self.config.steps:
                    save_checkpoint(folder / CHECKPOINT, about, self.state())

            self.advance(self.config.steps - self.steps, self.scheduled_position, tell)

    def advance(
        self,
        steps: int,
        position: Callable[[], float],
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """Train for at least so many environment steps.

        Args:
            steps: to be taken.
            position: of the curriculum, asked before each rollout.
            tell: called after each update.
        """
        if steps <= 0:
            return
        if not self.curve:
            self.evaluate(position())
        taught = self.curriculum.demonstrations(self.config.demonstrations)
        until = self.steps + steps
        suite = self._suite("train", self.config.num_envs)
        # another sequence of episodes after an interruption
        drawn = np.random.default_rng([self._seed, self._updates]).integers(2**31)
        runner = _Runner(suite, self.curriculum, int(drawn))
        policy: MixedPolicy | None = None
        while self.steps < until:
            now = position()
            fresh = MixedPolicy(self.agents, now, runner.count, self._generator)
            if policy is not None:
                fresh.take_over(policy)
            policy = fresh
            lived = runner.live(policy, self.config, self.returns)
            # also after a restored state, which brings the rate that it was reached with
            self._learner.anneal(min(self.steps / self.config.steps, 1.0))
            self._learner.update(lived, now, self._generator, taught)
            before = self.steps // self.config.evaluate_every
            self._updates += 1
            if self.steps // self.config.evaluate_every > before or self.steps >= until:
                self.evaluate(now)
            tell()

    def evaluate(self, position: float) -> None:
        """Add a point to the curve: likeliest actions, always the same episodes."""
        last = float(len(self.agents) - 1)
        mixture = self.success(position)
        alone = mixture if position == last else self.success(last)
        self.curve.append(
            {
                "steps": self.steps,
                "position": position,
                "mixture": mixture.tolist(),
                "last": alone.tolist(),
            }
        )

    def success(
        self, position: float, episodes: int | None = None, seed: int = EVALUATION_SEED
    ) -> np.ndarray:
        """Share of each task's episodes that succeed with likeliest actions. Shape (M,).

        Args:
            position: of the mixture that acts; K - 1 for the last agent alone.
            episodes: of each task, instead of the config's.
            seed: of the episodes.
        """
        success, _ = self._tried(position, episodes, seed)
        return success.mean(axis=1)

    def returns_alone(self, episodes: int, seed: int) -> list[float]:
        """Returns of episodes that the last agent alone lives through, of all tasks."""
        count = -(-episodes // len(self.curriculum.tasks))
        _, returns = self._tried(float(len(self.agents) - 1), count, seed)
        return returns.reshape(-1).tolist()

    def _tried(
        self, position: float, episodes: int | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        count = self.config.evaluation_episodes if episodes is None else episodes
        suite = self._suite(f"evaluation {count}", count)
        tasks = len(self.curriculum.tasks)
        generator = torch.Generator().manual_seed(seed)
        policy = MixedPolicy(self.agents, position, tasks * count, generator)
        begins = torch.ones(tasks * count, dtype=torch.bool)

        def act(states: np.ndarray) -> np.ndarray:
            actions, _, _ = policy.act(self.curriculum.observe(states), begins, best=True)
            begins[:] = False
            return actions.numpy().reshape(tasks, count, -1)

        success = np.zeros((tasks, count), dtype=bool)
        returns = np.zeros((tasks, count))
        for running, _, _, step in run_episodes(suite, act, seed):
            success |= step.success & running
            returns += step.rewards * running
        return success, returns

    def _suite(self, name: str, count: int) -> TaskSuite:
        if name not in self._suites:
            self._suites[name] = self.curriculum.suite(count)
        return self._suites[name]

    @property
    def _per_update(self) -> int:
        config = self.config
        return config.num_envs * config.rollout_steps * len(self.curriculum.tasks)

    def state(self) -> dict[str, Any]:
        """All that a training goes on from, for `restore`."""
        return {
            "updates": self._updates,
            "seconds": self.seconds,
            "agents": [agent.state_dict() for agent in self.agents],
            "optimizer": self._learner.optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "curve": self.curve,
            "returns": list(self.returns),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._updates = state["updates"]
        self._seconds, self._since = state["seconds"], time.monotonic()
        for agent, own in zip(self.agents, state["agents"], strict=True):
            agent.load_state_dict(own)
        self._learner.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.curve = list(state["curve"])
        self.returns.clear()
        self.returns.extend(state["returns"])

    def reseed(self, seed: int) -> None:
        """Draw from another sequence from here on, as a copy of another training must."""
        self._seed = seed
        self._generator.manual_seed(seed)


def to_bytes(state: dict[str, Any]) -> bytes:
    """A state as it travels between processes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> dict[str, Any]:
    """The inverse of `to_bytes`."""
    return torch.load(io.BytesIO(data), weights_only=True)


class _Runner:
    """Environments that a mixture lives in."""

    def __init__(self, suite: TaskSuite, curriculum: Curriculum, seed: int) -> None:
        self._suite, self._curriculum = suite, curriculum
        self._x = curriculum.observe(suite.reset(seed))
        self.count = len(self._x)
        self._begins = torch.ones(self.count, dtype=torch.bool)
        self._return = np.zeros(self.count)

    def live(
        self, policy: MixedPolicy, config: MixAndMatchConfig, returns: deque[float]
    ) -> Sequences:
        """Steps of one rollout; episodes that end meanwhile add to `returns`."""
        memories = policy.memories
        rows: dict[str, list[Tensor]] = {}
        for _ in range(config.rollout_steps):
            actions, log_probs, values = policy.act(self._x, self._begins)
            row = {"observations": self._x, "begins": self._begins, "actions": actions}
            shape = (len(self._curriculum.tasks), -1, actions.shape[-1])
            step = self._suite.step(actions.numpy().reshape(shape).clip(-1.0, 1.0))
            flat = {
                name: torch.from_numpy(getattr(step, name).reshape(-1))
                for name in ("rewards", "terminated", "ended", "valid")
            }
            row |= flat | {"log_probs": log_probs, "values": values}
            row["rewards"] = config.reward_scale * flat["rewards"].float() * flat["valid"]
            for name, value in row.items():
                rows.setdefault(name, []).append(value)
            self._x = self._curriculum.observe(step.states)
            # the step that only began an episode leads to its first observation
            self._begins = ~flat["valid"]
            self._note(step.rewards.reshape(-1), flat, returns)
        stacked = {name: torch.stack(some) for name, some in rows.items()}
        last = policy.value(self._x, self._begins)
        stacked["values"] = torch.cat([stacked["values"], last[None]])
        return Sequences(memories=memories, **stacked)

    def _note(self, rewards: np.ndarray, flat: dict[str, Tensor], returns: deque[float]) -> None:
        valid, ended = flat["valid"].numpy(), flat["ended"].numpy()
        self._return = np.where(valid, self._return + rewards, 0.0)
        returns.extend(float(value) for value in self._return[ended & valid])
