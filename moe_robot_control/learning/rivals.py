"""AWAC and its rivals behind one interface: the same demonstrations, the same own transitions.

Each learns from the recorded transitions first (`pretrain`), then after every episode of its own,
which lies at the end of a common log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning.awac import AwacLearner, Transitions, step_optimiser
from moe_robot_control.learning.awac_config import FineTuningConfig
from moe_robot_control.learning.fine_tuning import (
    FeaturedNetwork,
    FineTuner,
    InPhysicalUnits,
    num_features,
)
from moe_robot_control.learning.iql import IqlLearner
from moe_robot_control.learning.networks import mlp
from moe_robot_control.learning.ppo import GaussianActorCritic, PpoLearner, Rollout
from moe_robot_control.learning.rivals_config import RivalsConfig
from moe_robot_control.learning.sac import Replay, SacLearner, SquashedGaussian
from moe_robot_control.learning.transitions import TransitionLog, transitions_of
from moe_robot_control.policies.spaces import ACTION_SIZE, expert_observation_size


class Rival(Protocol):
    """Something that learns one skill."""

    def pretrain(self) -> None:
        """Learn from the recorded episodes alone."""

    def act(self, states: Tensor, exploring: bool) -> Tensor:
        """Actions in [-1, 1], or beyond where drawn. (n, d) -> (n, 4)."""

    def learn(self, new: int) -> None:
        """An episode of `new` transitions has come to the end of the log."""

    def judged(self, success: float) -> float:
        """An evaluation has found this success; returns that of the policy that acts on."""

    def deployed(self) -> nn.Module:
        """The policy in physical units. (n, d) -> (n, 4)."""


@dataclass(frozen=True)
class Material:
    """What every rival is given.

    Attributes:
        skill: to be learned.
        episodes: recorded ones.
        log: of own transitions.
        seed: of all randomness.
        folder: of a checkpoint.
        config: of AWAC, whose networks all have.
        rivals: of the others.
    """

    skill: str
    episodes: Sequence[Episode]
    log: TransitionLog
    seed: int
    folder: Path
    config: FineTuningConfig
    rivals: RivalsConfig


class _Plain:
    """A rival that keeps whatever it has learned."""

    def judged(self, success: float) -> float:
        return success


class Tuned:
    """AWAC or IQL as the graph's learner runs it."""

    def __init__(self, material: Material, make_learner: Any = AwacLearner) -> None:
        prior = transitions_of(material.episodes, material.skill)
        self.tuner = FineTuner(
            material.skill,
            prior,
            material.log,
            material.config,
            material.seed,
            material.folder,
            make_learner,
        )

    def pretrain(self) -> None:
        for _ in self.tuner.pretrain():
            pass

    def act(self, states: Tensor, exploring: bool) -> Tensor:
        tuner = self.tuner
        return tuner.explore(states) if exploring else tuner.policy.centre(states)

    def learn(self, new: int) -> None:
        self.tuner.improve()

    def judged(self, success: float) -> float:
        self.tuner.judge(success)
        return self.tuner.curve[-1][3]

    def deployed(self) -> nn.Module:
        policy = self.tuner.best_policy
        return InPhysicalUnits(policy, policy.centre)


class CloningLearner(AwacLearner):
    """Behavioural cloning: recorded actions alike, whatever came of them, and no critics."""

    def update(self, batch: Transitions) -> dict[str, float]:
        loss = -self.policy(batch.states).log_prob(batch.actions).mean()
        step_optimiser(self.actor_optimiser, loss)
        return {"actor_loss": loss.item()}


class Cloned(Tuned):
    """Behavioural cloning of all recorded episodes; it learns nothing afterwards."""

    def __init__(self, material: Material) -> None:
        super().__init__(material, CloningLearner)

    def learn(self, new: int) -> None:
        """Nothing."""

    def judged(self, success: float) -> float:
        return success


class ClonedThenPpo(Cloned):
    """PPO from the cloned policy on: it learns once enough transitions are lived with it."""

    def __init__(self, material: Material) -> None:
        super().__init__(material)
        self._config, self._log = material.rivals.ppo, material.log
        policy = self.tuner.policy.requires_grad_(True)
        self.model = GaussianActorCritic(
            policy.network, policy.centre, ACTION_SIZE, self._config.initial_std
        )
        self._learner = PpoLearner(self.model, self._config)
        self._generator = torch.Generator().manual_seed(material.seed)
        self._waiting = self._rounds = 0

    def act(self, states: Tensor, exploring: bool) -> Tensor:
        return self.model.sample(states, self._generator) if exploring else self.model.best(states)

    def learn(self, new: int) -> None:
        self._waiting += new
        if self._waiting < self._config.rollout_steps:
            return
        first = len(self._log) - self._waiting
        rollout = rollout_of(self._log.transitions(slice(first, None)), self.model)
        critic_only = self._rounds < self._config.warmup_rollouts
        self._learner.update(rollout, self._generator, critic_only=critic_only)
        self._rounds += 1
        self._waiting = 0


def rollout_of(lived: Transitions, model: GaussianActorCritic) -> Rollout:
    """Consecutive transitions, of whole episodes, as a rollout of one environment."""
    following = torch.cat([lived.states[1:], lived.states[:1]])
    ended = (lived.next_states != following).any(dim=1)
    ended[-1] = True
    with torch.no_grad():
        log_probs = model.log_prob(lived.states, lived.actions)
    columns = {
        "observations": lived.states,
        "next_observations": lived.next_states,
        "actions": lived.actions,
        "log_probs": log_probs,
        "rewards": lived.rewards,
        "terminated": lived.terminated > 0,
        "ended": ended,
        "valid": torch.ones_like(ended),
    }
    return Rollout(**{name: column[:, None] for name, column in columns.items()})


class SoftActorCritic(_Plain):
    """SAC from scratch, or with the recorded transitions as half of every batch."""

    def __init__(self, material: Material, demonstrations: bool) -> None:
        torch.manual_seed(material.seed)
        config, self._log = material.config, material.log
        size = config.network_width, config.network_depth
        num_inputs = expert_observation_size(material.skill)

        def network(inputs: int, outputs: int) -> nn.Module:
            seen = num_features(material.skill) + inputs - num_inputs
            return _Taskless(FeaturedNetwork(material.skill, mlp(seen, outputs, *size)))

        self._rng = np.random.default_rng(material.seed)
        self._sac = material.rivals.sac
        self._updates_per_step = config.updates_per_step
        self.learner = SacLearner(num_inputs, ACTION_SIZE, 1, network, self._sac)
        prior = transitions_of(material.episodes, material.skill)
        self._shown = _replay(prior, len(prior.states)) if demonstrations else None
        # what it may live at most; unfilled rows cost nothing
        self._own = Replay(1, material.rivals.sac_replay, num_inputs, ACTION_SIZE)

    def pretrain(self) -> None:
        """Nothing: SAC has no offline phase."""

    def act(self, states: Tensor, exploring: bool) -> Tensor:
        return self.learner.act(states, torch.ones(len(states), 1), best=not exploring)

    def learn(self, new: int) -> None:
        _add(self._own, self._log.transitions(slice(len(self._log) - new, None)))
        if not len(self._own):
            return
        share = 1 if self._shown is None else 2
        for _ in range(round(new * self._updates_per_step)):
            batch = self._own.sample(self._sac.batch // share, self._rng)
            shown = self._shown and self._shown.sample(self._sac.batch // share, self._rng)
            self.learner.update(batch, shown)

    def deployed(self) -> nn.Module:
        return InPhysicalUnits(self.learner.actor, self._mean)

    def _mean(self, states: Tensor) -> Tensor:
        return SquashedGaussian(self.learner.actor(states, torch.ones(len(states), 1))).best


class _Taskless(nn.Module):
    """A network that is told of a task, of which there is only one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, tasks: Tensor) -> Tensor:
        return self.network(x)


def _replay(transitions: Transitions, capacity: int) -> Replay:
    states, actions = transitions.states, transitions.actions
    replay = Replay(1, capacity, states.shape[1], actions.shape[1])
    _add(replay, transitions)
    return replay


def _add(replay: Replay, transitions: Transitions) -> None:
    t = transitions
    columns = (t.states, t.actions, t.rewards, t.next_states, t.terminated)
    replay.add(0, *(column.numpy() for column in columns))


METHODS: dict[str, Callable[[Material], Rival]] = {
    "awac": Tuned,
    "bc": Cloned,
    "bc_ppo": ClonedThenPpo,
    "sac": lambda material: SoftActorCritic(material, demonstrations=False),
    "sac_demonstrations": lambda material: SoftActorCritic(material, demonstrations=True),
    "iql": lambda material: Tuned(material, IqlLearner),
}
"""What can be trained, by name."""
