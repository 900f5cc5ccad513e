"""Mix & Match (Czarnecki et al. 2018): K agents from simple to complex, of which a mixture acts.

The control policy is pi_mm = sum_i alpha_i pi_i, its value V_mm = sum_i alpha_i V_i. Learning sees
only the mixture, by its exact log-probability; beside it each next agent is drawn towards the one
before on what the mixture visits. `position` says how far the curriculum has come: at k all weight
is with agent k, between k and k + 1 those two share it. For two agents it is the paper's alpha.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from moe_robot_control.learning.action_distributions import (
    Distribution,
    detached,
    mixture_log_prob,
    of_first_step,
    transfer,
)
from moe_robot_control.learning.agents import Agent
from moe_robot_control.learning.networks import anneal, falling
from moe_robot_control.learning.ppo import clipped_surrogate_loss, generalised_advantages

SUPERVISED = ("transfer", "value_transfer")
"""Parts of the loss that go on where PPO ends."""
CLONED_STEPS = 1024
"""Of demonstrations, in each minibatch; by agents that remember nothing."""
CLONED_EPISODES = 8
"""Of demonstrations, in each minibatch; by agents that remember."""


@dataclass(frozen=True)
class LearnerConfig:
    """Of PPO and the transfer; `config/training/mix_and_match.yaml` says what they mean."""

    epochs: int
    minibatches: int
    learning_rate: float
    final_learning_rate: float
    gamma: float
    gae_lambda: float
    clip: float
    value_weight: float
    entropy_weight: float
    final_entropy_weight: float
    transfer_weight: float
    value_transfer_weight: float
    cloning_weight: float
    max_gradient_norm: float
    target_kl: float


def curriculum_weights(position: float, count: int) -> list[float]:
    """alpha_1 to alpha_K at a position from 0 (the first agent) to K - 1 (the last).

    Raises:
        ValueError: a position outside.
    """
    if not 0.0 <= position <= count - 1:
        raise ValueError(f"position {position} is not within 0 and {count - 1}")
    return [max(0.0, 1.0 - abs(position - i)) for i in range(count)]


def pupil_of(position: float, count: int) -> int | None:
    """The agent that learns from the one before it at a position; None at the end."""
    return math.floor(position) + 1 if position < count - 1 else None


def taking_part(position: float, count: int) -> list[bool]:
    """Which agents act or learn at a position; the others need not be computed."""
    pupil = pupil_of(position, count)
    return [w > 0.0 or i == pupil for i, w in enumerate(curriculum_weights(position, count))]


def transfer_loss(distributions: Sequence[Distribution | None], position: float) -> Tensor:
    """(1 - alpha) KL(pi_k || pi_{k+1}) for each step, k being where the curriculum stands. (...).

    Knowledge goes one way: the teacher is a constant. Zero, without a gradient, at the end.
    """
    pupil = pupil_of(position, len(distributions))
    if pupil is None:
        present = next(d for d in distributions if d is not None)
        return torch.zeros_like(present.moments()[0][..., 0])
    teacher, student = distributions[pupil - 1], distributions[pupil]
    left = pupil - position
    return left * transfer(detached(teacher), student)


@dataclass
class Demonstrations:
    """N whole episodes of at most T steps; tensors lead with (T, N).

    Attributes:
        observations: before each step. Shape (T, N, d).
        actions: that the teacher would do. Shape (T, N, a).
        valid: whether the episode still ran, from its first step on.
    """

    observations: Tensor
    actions: Tensor
    valid: Tensor

    def steps(self, count: int, generator: torch.Generator) -> Demonstrations:
        """So many steps of any episodes, as the first ones of episodes. (1, count)."""
        pick = torch.randint(len(self._places), (1, count), generator=generator)
        return self._at(*self._places[pick].unbind(-1))

    def episodes(self, count: int, generator: torch.Generator) -> Demonstrations:
        """So many of the episodes, as far as the longest of them goes."""
        pick = torch.randint(self.valid.shape[1], (count,), generator=generator)
        length = int(self.valid[:, pick].any(dim=1).sum())
        return self._at(slice(length), pick)

    def _at(self, steps: Tensor | slice, episodes: Tensor) -> Demonstrations:
        parts = (self.observations, self.actions, self.valid)
        return Demonstrations(*(part[steps, episodes] for part in parts))

    @cached_property
    def _places(self) -> Tensor:
        """Step and episode of all valid steps."""
        return torch.nonzero(self.valid)


@dataclass
class Sequences:
    """T steps of n environments; tensors lead with (T, n).

    Attributes:
        observations: before each step. Shape (T, n, d).
        begins: whether that observation begins an episode.
        actions: as drawn. Shape (T, n, a).
        log_probs: of the actions under the mixture that drew them.
        values: of the mixture, with that of the observation after the last step. Shape (T + 1, n).
        rewards: scaled.
        terminated, ended, valid: as in `ppo.Rollout`.
        memories: of each agent before the first step; None of one that took no part. (n, h).
    """

    observations: Tensor
    begins: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    terminated: Tensor
    ended: Tensor
    valid: Tensor
    memories: list[Tensor | None]


class MixedPolicy:
    """What acts: at every step one of the agents, drawn by the weights, in each environment."""

    def __init__(
        self, agents: Sequence[Agent], position: float, count: int, generator: torch.Generator
    ) -> None:
        """Begin to act in `count` environments, with nothing remembered."""
        self._agents, self._generator = agents, generator
        self.weights = curriculum_weights(position, len(agents))
        self.active = taking_part(position, len(agents))
        self._memories = [agent.memory(count) for agent in agents]

    def take_over(self, before: MixedPolicy) -> None:
        """Remember what another policy of the same agents and environments remembers."""
        for index, active in enumerate(before.active):
            if active:
                self._memories[index] = before._memories[index]

    @property
    def memories(self) -> list[Tensor | None]:
        """What each active agent remembers. (n, h)."""
        return [m if on else None for m, on in zip(self._memories, self.active, strict=True)]

    @torch.no_grad()
    def act(self, x: Tensor, begins: Tensor, best: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Look, remember and act.

        Args:
            x: observations. Shape (n, d).
            begins: which begin an episode. Shape (n,), bool.
            best: the likeliest action of the drawn agent, instead of a draw.

        Returns:
            Actions (n, a), their log density under the mixture (n,), the mixture's value (n,).
        """
        outcome = self._follow(x, begins, remember=True)
        choices = [
            (index, found[0].best() if best else found[0].sample(self._generator))
            for index, found in enumerate(outcome)
            if found is not None and self.weights[index] > 0.0
        ]
        actions = choices[0][1]
        if len(choices) > 1:
            odds = torch.tensor([self.weights[index] for index, _ in choices])
            drawn = torch.multinomial(odds, len(x), replacement=True, generator=self._generator)
            stacked = torch.stack([action for _, action in choices])
            actions = stacked[drawn, torch.arange(len(x))]
        return actions, self._log_prob(outcome, actions), self._value(outcome)

    @torch.no_grad()
    def value(self, x: Tensor, begins: Tensor) -> Tensor:
        """The mixture's value of observations that are not acted on yet. (n, d) -> (n,)."""
        return self._value(self._follow(x, begins, remember=False))

    def _follow(
        self, x: Tensor, begins: Tensor, remember: bool
    ) -> list[tuple[Distribution, Tensor] | None]:
        outcome: list[tuple[Distribution, Tensor] | None] = []
        for index, agent in enumerate(self._agents):
            if not self.active[index]:
                outcome.append(None)
                continue
            found, value, memory = agent(x[None], self._memories[index], begins[None])
            if remember:
                self._memories[index] = memory
            outcome.append((of_first_step(found), value[0]))
        return outcome

    def _log_prob(
        self, outcome: Sequence[tuple[Distribution, Tensor] | None], actions: Tensor
    ) -> Tensor:
        return mixed_log_prob(
            [None if found is None else found[0] for found in outcome], actions, self.weights
        )

    def _value(self, outcome: Sequence[tuple[Distribution, Tensor] | None]) -> Tensor:
        return mixed_value([None if f is None else f[1] for f in outcome], self.weights)


def mixed_log_prob(
    distributions: Sequence[Distribution | None], actions: Tensor, weights: Sequence[float]
) -> Tensor:
    """Log density of actions under the mixture. (..., a) -> (...)."""
    pairs = [(d, w) for d, w in zip(distributions, weights, strict=True) if w > 0.0]
    return mixture_log_prob([d.log_prob(actions) for d, _ in pairs], [w for _, w in pairs])


def mixed_value(values: Sequence[Tensor | None], weights: Sequence[float]) -> Tensor:
    """sum_i alpha_i V_i. Shape (...)."""
    parts = [w * v for v, w in zip(values, weights, strict=True) if w > 0.0]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


class MixAndMatchLearner:
    """Updates all agents from what the mixture lived through, by PPO and transfer."""

    def __init__(self, agents: Sequence[Agent], config: LearnerConfig) -> None:
        """Optimise `agents`, which share no parameters."""
        self.agents, self.config = list(agents), config
        self._entropy_weight = config.entropy_weight
        self.optimizer = torch.optim.Adam(
            [{"params": list(agent.parameters())} for agent in agents],
            lr=config.learning_rate,
            eps=1e-5,
        )

    def anneal(self, progress: float) -> None:
        """Set learning rate and entropy weight for a share of the training done."""
        config = self.config
        self._entropy_weight = falling(config.entropy_weight, config.final_entropy_weight, progress)
        anneal([self.optimizer], config.learning_rate, config.final_learning_rate, progress)

    def update(
        self,
        lived: Sequences,
        position: float,
        generator: torch.Generator,
        demonstrations: Demonstrations | None = None,
    ) -> None:
        """Rounds of epochs over sequences; minibatches are whole sequences of some environments.

        PPO ends where the mixture has gone too far from what collected; transfer and cloning,
        which do not rest on what it did, go on.

        Args:
            lived: collected by the mixture at `position`, as it is.
            position: of the curriculum.
            generator: of the minibatches.
            demonstrations: that every agent clones.
        """
        config = self.config
        advantages = generalised_advantages(
            lived.rewards,
            lived.values[:-1],
            lived.values[1:],
            lived.terminated,
            lived.ended,
            config.gamma,
            config.gae_lambda,
        )
        targets = advantages + lived.values[:-1]
        known = advantages[lived.valid]
        advantages = (advantages - known.mean()) / (known.std(correction=0) + 1e-8)
        count = lived.valid.shape[1]
        cloned = demonstrations is not None and config.cloning_weight > 0.0
        taught = pupil_of(position, len(self.agents)) is not None
        trusted = True
        for _ in range(config.epochs):
            if not (trusted or taught or cloned):
                break
            gone: list[float] = []
            order = torch.randperm(count, generator=generator)
            for pick in order.chunk(config.minibatches):
                parts: dict[str, Tensor] = {}
                if trusted or taught:
                    parts, kl = self._losses(lived, advantages, targets, pick, position)
                    gone.append(kl)
                if not trusted:
                    parts = {name: part for name, part in parts.items() if name in SUPERVISED}
                if cloned:
                    cloning = self.cloning_loss(demonstrations, position, generator)
                    parts["cloning"] = config.cloning_weight * cloning
                self.optimizer.zero_grad()
                sum(parts.values()).backward()
                # each by itself: what one agent learns must not slow another
                for agent in self.agents:
                    nn.utils.clip_grad_norm_(agent.parameters(), config.max_gradient_norm)
                self.optimizer.step()
            trusted = trusted and sum(gone) / len(gone) <= config.target_kl

    def _losses(
        self, lived: Sequences, advantages: Tensor, targets: Tensor, pick: Tensor, position: float
    ) -> tuple[dict[str, Tensor], float]:
        """Parts of a minibatch's loss, and how far the mixture has gone from what collected."""
        config, count = self.config, len(self.agents)
        weights, pupil = curriculum_weights(position, count), pupil_of(position, count)
        x, begins = lived.observations[:, pick], lived.begins[:, pick]
        distributions: list[Distribution | None] = []
        values: list[Tensor | None] = []
        for agent, memory in zip(self.agents, lived.memories, strict=True):
            if memory is None:
                distributions.append(None)
                values.append(None)
                continue
            distribution, value, _ = agent(x, memory[pick], begins)
            distributions.append(distribution)
            values.append(value)
        valid = lived.valid[:, pick]
        log_probs = mixed_log_prob(distributions, lived.actions[:, pick], weights)[valid]
        old = lived.log_probs[:, pick][valid]
        surrogate = clipped_surrogate_loss(log_probs, old, advantages[:, pick][valid], config.clip)
        ratio = log_probs.detach() - old
        # Schulman's estimate
        kl = float((ratio.exp() - 1.0 - ratio).mean())
        value = mixed_value(values, weights)
        explored = [
            w * d.exploration() for d, w in zip(distributions, weights, strict=True) if w > 0.0
        ]
        parts = {
            "policy": surrogate,
            "value": config.value_weight * (value - targets[:, pick])[valid].square().mean(),
            "entropy": -self._entropy_weight * torch.stack(explored).sum(0)[valid].mean(),
        }
        if pupil is not None:
            parts["transfer"] = (
                config.transfer_weight * transfer_loss(distributions, position)[valid].mean()
            )
            apart = (values[pupil] - values[pupil - 1].detach())[valid].square().mean()
            parts["value_transfer"] = config.value_transfer_weight * (pupil - position) * apart
        return parts, kl

    def cloning_loss(
        self, demonstrations: Demonstrations, position: float, generator: torch.Generator
    ) -> Tensor:
        """Mean squared errors of all agents that take part, summed."""
        losses = []
        for agent in itertools.compress(self.agents, taking_part(position, len(self.agents))):
            # what is to be remembered came earlier in the same episode
            if agent.trunk.memory_size:
                shown = demonstrations.episodes(CLONED_EPISODES, generator)
            else:
                shown = demonstrations.steps(CLONED_STEPS, generator)
            begins = torch.zeros_like(shown.valid)
            begins[0] = True
            memory = agent.memory(shown.valid.shape[1])
            found, _, _ = agent(shown.observations, memory, begins)
            errors = (found.moments()[0] - shown.actions)[shown.valid]
            losses.append(errors.square().mean())
        return torch.stack(losses).sum()
