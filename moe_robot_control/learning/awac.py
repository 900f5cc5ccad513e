"""Advantage-weighted actor-critic (Nair, Gupta, Dalal and Levine 2020, arXiv 2006.09359).

Two critics learn Q of the policy from whatever was recorded; the actor imitates recorded actions,
those that were better than the policy's own by more than others:

    y      = r + gamma min_i Q'_i(s', a'),  a' ~ pi(s')
    A(s,a) = min_i Q_i(s, a) - V(s),        V(s) = E_{a ~ pi(s)} min_i Q_i(s, a)
    actor: max E_{(s, a) ~ data} [log pi(a | s) exp(A(s, a) / lambda)]              (eq. 13)

Offline and online learning are the same update; only what is recorded grows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal

WEIGHTINGS = ("exponential", "softmax")
LOG_SPREAD_RANGE = (-4.0, 0.0)
DISTRIBUTIONS = {"gaussian": Normal, "laplace": Laplace}
"""Of actions, by centre and spread: the standard deviation, or the mean distance."""


@dataclass(frozen=True)
class AwacConfig:
    """Hyper-parameters.

    Attributes:
        gamma: discount.
        tau: rate of the target critics.
        learning_rate: of Adam.
        policy_weight_decay: of the policy's weights, for each unit of learning rate (AdamW,
            Loshchilov and Hutter 2019): a few thousand recorded transitions are soon learned by
            heart.
        batch: transitions of an update.
        temperature: lambda; small ones trust the critics, large ones imitate.
        weighting: `exponential`: exp(A / lambda); `softmax`: the same, normalised over the batch.
        max_weight: larger weights are cut to this.
        min_weight: smaller ones of demonstrations are raised to this: where the critics think too
            well of actions that nobody has tried, all recorded ones look bad, and none would be
            learned. Own actions have no least weight: their exploration is nothing to imitate.
        imitate_own_failures: whether own episodes that failed are imitated, by their advantages,
            as published. What a policy does where it is stuck, however small its advantages, is
            most of such an episode, and imitated it is done the more. The critics learn of it.
        value_samples: actions that estimate V.
        lowest_return, highest_return: what a discounted return can be; y is kept between them.
            The smaller of two critics, bootstrapped over a hundred steps, else falls far below
            what any return can be, and no action is worth more than another.
    """

    gamma: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    policy_weight_decay: float = 0.0
    batch: int = 256
    temperature: float = 1.0
    weighting: str = "exponential"
    max_weight: float = 20.0
    min_weight: float = 0.0
    imitate_own_failures: bool = True
    value_samples: int = 1
    lowest_return: float = -math.inf
    highest_return: float = math.inf


@dataclass
class Transitions:
    """b steps.

    Attributes:
        states, next_states: shape (b, d).
        actions: shape (b, a).
        rewards, terminated: shape (b).
        shown: whether each is of a demonstration. Shape (b).
        succeeded: whether each is of an episode that succeeded. Shape (b).
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor
    shown: Tensor
    succeeded: Tensor


class StochasticPolicy(nn.Module):
    """Actions about tanh of a centre in [-1, 1], with a spread that depends on the state.

    A Laplace distribution's centre becomes the median of what it imitates, a Gaussian's the mean.
    Whoever steers by keys goes at full speed one way or the other; between two who disagree, the
    mean is to stand still, and there a policy stays for ever.
    """

    def __init__(self, network: nn.Module, distribution: str = "gaussian") -> None:
        """Wrap a network.

        Args:
            network: of states, (b, d), to centres and log spreads, (b, 2 a).
            distribution: out of `DISTRIBUTIONS`.

        Raises:
            ValueError: unknown distribution.
        """
        super().__init__()
        self.network = network
        if distribution not in DISTRIBUTIONS:
            known = ", ".join(DISTRIBUTIONS)
            raise ValueError(f"unknown distribution {distribution!r}: expected one of {known}")
        self._kind = DISTRIBUTIONS[distribution]

    def parameters_of(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Centres and log spreads. (b, d) -> (b, a) each."""
        centre, raw = self.network(states).chunk(2, dim=-1)
        low, high = LOG_SPREAD_RANGE
        return torch.tanh(centre), low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)

    def centre(self, states: Tensor) -> Tensor:
        """What is deployed. (b, d) -> (b, a)."""
        return self.parameters_of(states)[0]

    def forward(self, states: Tensor) -> Distribution:
        centre, log_spread = self.parameters_of(states)
        return Independent(self._kind(centre, log_spread.exp()), 1)


def advantage_weights(
    advantages: Tensor, temperature: float, weighting: str, max_weight: float
) -> Tensor:
    """Weight of each recorded action. (b) -> (b).

    Args:
        advantages: A(s, a).
        temperature: lambda.
        weighting: out of `WEIGHTINGS`; with `softmax` the weights' mean is one before the cut.
        max_weight: at most.

    Raises:
        ValueError: unknown weighting.
    """
    scaled = advantages / temperature
    if weighting == "exponential":
        # the cut before the exponential: what overflows is cut, too
        return scaled.clamp(max=torch.tensor(max_weight).log().item()).exp()
    if weighting == "softmax":
        return (len(scaled) * torch.softmax(scaled, dim=0)).clamp(max=max_weight)
    raise ValueError(f"unknown weighting {weighting!r}: expected one of {', '.join(WEIGHTINGS)}")


class AwacLearner(nn.Module):
    """A policy, two critics and their targets."""

    def __init__(
        self, policy: nn.Module, make_critic: Callable[[], nn.Module], config: AwacConfig
    ) -> None:
        """Build the critics.

        Args:
            policy: from states, (b, d), to a distribution of actions (b, a).
            make_critic: makes a network of states and actions, (b, d + a), to values (b, 1).
            config: hyper-parameters.
        """
        super().__init__()
        self.config, self.policy = config, policy
        self.critics = nn.ModuleList(make_critic() for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor_optimiser = torch.optim.AdamW(
            policy.parameters(),
            config.learning_rate,
            weight_decay=config.policy_weight_decay,
            fused=True,
        )
        self.critic_optimiser = torch.optim.Adam(
            self.critics.parameters(), config.learning_rate, fused=True
        )

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Of actor and critics."""
        return self.actor_optimiser, self.critic_optimiser

    def critic_loss(self, batch: Transitions) -> Tensor:
        """Mean squared error of both critics to y."""
        with torch.no_grad():
            goal = self._bootstrapped(batch, self._value(self.targets, batch.next_states))
        inputs = torch.cat([batch.states, batch.actions], dim=1)
        return sum((critic(inputs)[:, 0] - goal).square().mean() for critic in self.critics)

    @torch.no_grad()
    def advantages(self, batch: Transitions) -> Tensor:
        """A(s, a) of recorded actions. Shape (b)."""
        own = lowest(self.critics, batch.states, batch.actions)
        return own - self._value(self.critics, batch.states)

    def actor_loss(self, batch: Transitions) -> Tensor:
        """-E[log pi(a | s) w(s, a)] over recorded actions."""
        config = self.config
        weights = advantage_weights(
            self.advantages(batch), config.temperature, config.weighting, config.max_weight
        )
        weights = torch.maximum(weights, config.min_weight * batch.shown)
        if not config.imitate_own_failures:
            weights = weights * torch.maximum(batch.shown, batch.succeeded)
        return -(self.policy(batch.states).log_prob(batch.actions) * weights).mean()

    def update(self, batch: Transitions) -> dict[str, float]:
        """One step of critics, actor and targets; returns their losses."""
        critic_loss = self.critic_loss(batch)
        step_optimiser(self.critic_optimiser, critic_loss)
        actor_loss = self.actor_loss(batch)
        step_optimiser(self.actor_optimiser, actor_loss)
        with torch.no_grad():
            own, following = list(self.critics.parameters()), list(self.targets.parameters())
            torch._foreach_lerp_(following, own, self.config.tau)
        return {"critic_loss": critic_loss.item(), "actor_loss": actor_loss.item()}

    def _bootstrapped(self, batch: Transitions, following: Tensor) -> Tensor:
        """y of the values of the next states. (b) -> (b)."""
        config = self.config
        goal = batch.rewards + config.gamma * (1.0 - batch.terminated) * following
        return goal.clamp(config.lowest_return, config.highest_return)

    def _value(self, critics: nn.ModuleList, states: Tensor) -> Tensor:
        count = self.config.value_samples
        actions = self.policy(states).sample((count,)).flatten(0, 1)
        return lowest(critics, states.repeat(count, 1), actions).unflatten(0, (count, -1)).mean(0)


def lowest(critics: nn.ModuleList, states: Tensor, actions: Tensor) -> Tensor:
    """The smaller of two critics' values. (b, d), (b, a) -> (b)."""
    inputs = torch.cat([states, actions], dim=1)
    return torch.min(*(critic(inputs)[:, 0] for critic in critics))


def step_optimiser(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss's gradient."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
