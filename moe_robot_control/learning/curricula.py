"""The three curricula: which agents, on which tasks, from simple to complex."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.learning.agents import (
    NUM_MOVES,
    Agent,
    CoarseAgent,
    FeedForward,
    GaussianAgent,
    PerTask,
    Recurrent,
    coarse_moves,
)
from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.mix_and_match import Demonstrations
from moe_robot_control.learning.mix_and_match_config import MixAndMatchConfig
from moe_robot_control.learning.networks import skill_features
from moe_robot_control.learning.task_suites import (
    DEMONSTRATION_SEED,
    Step,
    TaskSuite,
    run_episodes,
)
from moe_robot_control.policies.spaces import (
    ACTION_SIZE,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    check_skill,
    expert_observation_size,
)

DEMONSTRATION_NOISE = 0.2
"""Of the teacher's actions (-1 to 1), so that they show how to recover."""


@dataclass(frozen=True)
class Curriculum:
    """What is learned, and by whom.

    Attributes:
        name: out of `mix_and_match_config.CURRICULA`.
        tasks: skills; with more than one, observations end in the task as one-hot.
        agents: builds those that take part, from simple to complex.
        suite: builds n environments of each task.
        judged_alone: whether a population compares what the last agent does alone, rather than
            the mixture; where the mixture's success is that of agents that are thrown away, or
            it has none until the last agent acts nearly alone.
    """

    name: str
    tasks: tuple[str, ...]
    agents: Callable[[], list[Agent]]
    suite: Callable[[int], TaskSuite]
    judged_alone: bool
    _made: dict[int, Demonstrations] = field(default_factory=dict, compare=False, repr=False)

    def observe(self, states: np.ndarray) -> Tensor:
        """What agents see: (M, n, d) as (M n, d), with the task where there are several."""
        x = torch.from_numpy(states.reshape(-1, states.shape[-1]).astype(np.float32))
        if len(self.tasks) == 1:
            return x
        tasks = torch.eye(len(self.tasks)).repeat_interleave(states.shape[1], dim=0)
        return torch.cat([x, tasks], dim=1)

    def demonstrations(self, count: int) -> Demonstrations | None:
        """`count` episodes of each task, which are made once; None of 0."""
        if count and count not in self._made:
            self._made[count] = self._demonstrated(count)
        return self._made.get(count)

    def _demonstrated(self, count: int) -> Demonstrations:
        suite, rng = self.suite(count), np.random.default_rng(DEMONSTRATION_SEED)
        labels: list[np.ndarray] = []

        def policy(states: np.ndarray) -> np.ndarray:
            labels.append(suite.teach())
            noise = DEMONSTRATION_NOISE * rng.standard_normal(labels[-1].shape)
            return np.clip(labels[-1] + noise, -1.0, 1.0)

        observations, valid = [], []
        for running, states, _, _ in run_episodes(suite, policy, DEMONSTRATION_SEED):
            observations.append(self.observe(states))
            valid.append(torch.from_numpy(running.reshape(-1)))
        taught = np.stack(labels).reshape(len(labels), -1, ACTION_SIZE).astype(np.float32)
        actions = torch.from_numpy(taught).clamp(-1.0, 1.0)
        return Demonstrations(torch.stack(observations), actions, torch.stack(valid))


class HidingSuite:
    """Skills whose last object is seen only in the first steps of an episode; see `TaskSuite`.

    That is where the skill ends: the button, or the bin that the vial goes into.
    """

    def __init__(self, suite: TaskSuite, visible_steps: int) -> None:
        """Hide it after so many steps; `suite` is of skills of the bench."""
        self.names, self.num_envs = suite.names, suite.num_envs
        self.num_inputs, self.num_actions = suite.num_inputs, suite.num_actions
        self.features = suite.features
        self._suite, self._visible = suite, visible_steps
        self._steps = np.zeros((len(self.names), self.num_envs), dtype=int)
        self._last = np.zeros((len(self.names), 1, self.num_inputs), dtype=bool)
        for own, skill in zip(self._last[:, 0], self.names, strict=True):
            size = expert_observation_size(skill)
            own[size - 4 : size] = True

    def reset(self, seed: int) -> np.ndarray:
        """See `TaskSuite`."""
        self._steps[:] = 0
        return self._hidden(self._suite.reset(seed))

    def step(self, actions: np.ndarray) -> Step:
        """See `TaskSuite`."""
        step = self._suite.step(actions)
        self._steps = np.where(step.valid, self._steps + 1, 0)
        step.states = self._hidden(step.states)
        return step

    def rest(self, which: np.ndarray) -> None:
        """See `TaskSuite`."""
        self._suite.rest(which)

    def teach(self) -> np.ndarray:
        """See `TaskSuite`; the teacher sees everything."""
        return self._suite.teach()

    def _hidden(self, states: np.ndarray) -> np.ndarray:
        late = (self._steps >= self._visible)[..., None]
        return np.where(late & self._last, 0.0, states)


def build_curriculum(name: str, config: MixAndMatchConfig, num_threads: int = 0) -> Curriculum:
    """A curriculum of `mix_and_match_config.CURRICULA`, with the agents that `config` asks for.

    Raises:
        UnknownSkillError: no such skill.
    """
    tasks = SKILLS if name == "multitask" else (check_skill(config.skill),)

    def suite(count: int) -> TaskSuite:
        bench = BenchSuite(count, tasks, num_threads, config.handed_over, config.placement_range)
        return HidingSuite(bench, config.visible_steps) if config.visible_steps else bench

    def agents() -> list[Agent]:
        pair = _BUILDERS[name](config)
        return {"simple": pair[:1], "complex": pair[1:], "both": pair}[config.agents]

    return Curriculum(name, tasks, agents, suite, judged_alone=name != "actions")


def _actions(config: MixAndMatchConfig) -> list[Agent]:
    def trunk(width: int) -> FeedForward:
        return FeedForward(SHARED_OBSERVATION_SIZE, skill_features, width)

    return [
        CoarseAgent(trunk(config.width), coarse_moves, NUM_MOVES, config.coarse_std),
        GaussianAgent(trunk(config.complex_width), ACTION_SIZE, config.initial_std),
    ]


def _architecture(config: MixAndMatchConfig) -> list[Agent]:
    parts = (SHARED_OBSERVATION_SIZE, skill_features)
    return [
        GaussianAgent(trunk, ACTION_SIZE, config.initial_std)
        for trunk in (FeedForward(*parts, config.width), Recurrent(*parts, config.complex_width))
    ]


def _multitask(config: MixAndMatchConfig) -> list[Agent]:
    count = len(SKILLS)
    size = SHARED_OBSERVATION_SIZE + count
    own = PerTask(size, skill_features, config.width, count)
    shared = FeedForward(size, _with_task, config.complex_width)
    return [
        GaussianAgent(own, ACTION_SIZE, config.initial_std, count),
        GaussianAgent(shared, ACTION_SIZE, config.initial_std),
    ]


def _with_task(x: Tensor) -> Tensor:
    states, tasks = x[:, :SHARED_OBSERVATION_SIZE], x[:, SHARED_OBSERVATION_SIZE:]
    return torch.cat([skill_features(states), tasks], dim=1)


class DeployableActor(nn.Module):
    """An agent without memory, as `multitask_training.DeployedPolicy` takes actors."""

    def __init__(self, agent: GaussianAgent, several_tasks: bool) -> None:
        super().__init__()
        self._agent, self._several = agent, several_tasks

    def forward(self, states: Tensor, tasks: Tensor) -> Tensor:
        """The answer before tanh, twice: the second half is not looked at. -> (n, 2 a)."""
        x = torch.cat([states, tasks], dim=1) if self._several else states
        raw = self._agent.policy(self._agent.trunk.encode(x))
        return torch.cat([raw, raw], dim=1)


_BUILDERS: dict[str, Callable[[MixAndMatchConfig], list[Agent]]] = {
    "actions": _actions,
    "architecture": _architecture,
    "multitask": _multitask,
}
