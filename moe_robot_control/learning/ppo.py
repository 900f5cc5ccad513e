"""Proximal policy optimisation (Schulman et al. 2017) for Gaussian and categorical policies.

The losses are functions of tensors; `PpoLearner.update` joins them over one rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import mlp

MIN_LOG_STD = -3.0

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PpoConfig:
    """Hyper-parameters; `config/training/roman.yaml` says what they mean."""

    num_envs: int
    rollout_steps: int
    epochs: int
    minibatch: int
    learning_rate: float
    value_learning_rate: float
    gamma: float
    gae_lambda: float
    clip: float
    value_weight: float
    entropy_weight: float
    max_gradient_norm: float
    target_kl: float
    initial_std: float
    exploration: float
    warmup_rollouts: int


@dataclass
class Rollout:
    """T steps of n environments; tensors lead with (T, n).

    Attributes:
        observations, next_observations: before and after each step. Shape (T, n, d).
        actions: as drawn. Shape (T, n, a).
        log_probs: of the actions when they were drawn.
        rewards: already weighed and scaled.
        terminated: the episode ended by itself: nothing follows.
        ended: terminated or truncated: what follows is another episode.
        valid: false for steps in which an environment was being reset.
    """

    observations: Tensor
    next_observations: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    terminated: Tensor
    ended: Tensor
    valid: Tensor


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16).

    A_t = d_t + gamma lambda A_{t+1} with d_t = r_t + gamma V(s_{t+1}) - V(s_t), where V is zero
    after a terminal step and the sum stops at the end of an episode.

    Args:
        rewards, values, next_values: shape (T, n).
        terminated, ended: shape (T, n), bool.
        gamma: discount.
        gae_lambda: 0 trusts the values, 1 the returns.

    Returns:
        Shape (T, n).
    """
    delta = rewards + gamma * next_values * ~terminated - values
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        following = delta[t] + gamma * gae_lambda * following * ~ended[t]
        advantages[t] = following
    return advantages


def clipped_surrogate_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float
) -> Tensor:
    """-E[min(q A, clip(q, 1 - e, 1 + e) A)] with q = pi / pi_old (PPO paper, eq. 7)."""
    ratio = torch.exp(log_probs - old_log_probs)
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


def gaussian_log_prob(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of independent Gaussians, summed over the last axis. (..., a) -> (...)."""
    square = ((actions - mean) * torch.exp(-log_std)).square()
    return -(0.5 * square + log_std + 0.5 * math.log(2.0 * math.pi)).sum(-1)


class ActorCritic(nn.Module):
    """A policy network, a distribution of actions about its answer, and a value network."""

    def __init__(
        self, policy: nn.Module, value_features: Features | None = None, width: int = 128
    ) -> None:
        """Wrap a policy.

        Args:
            policy: with `num_inputs` and `features`.
            value_features: of the value network, (n, d) -> (n, f); the policy's by default.
            width: hidden units of the value network.
        """
        super().__init__()
        self.policy = policy
        self._value_features = policy.features if value_features is None else value_features
        size = self._value_features(torch.zeros(1, policy.num_inputs)).shape[1]
        self.critic = mlp(size, 1, width, 2)

    def value(self, observations: Tensor) -> Tensor:
        """Expected discounted return. (..., d) -> (...)."""
        flat = observations.reshape(-1, observations.shape[-1])
        return self.critic(self._value_features(flat)).reshape(observations.shape[:-1])

    def best(self, observations: Tensor) -> Tensor:
        """The action without exploration, as deployed. (n, d) -> (n, a)."""
        raise NotImplementedError

    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """A drawn action. (n, d) -> (n, a)."""
        raise NotImplementedError

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log probability or density of actions. (n, d), (n, a) -> (n,)."""
        raise NotImplementedError

    def entropy(self, observations: Tensor) -> Tensor:
        """Mean entropy, but for a constant. A scalar."""
        raise NotImplementedError


class GaussianActorCritic(ActorCritic):
    """Gaussian exploration of the same size everywhere about the network's answer."""

    def __init__(
        self,
        policy: nn.Module,
        mean_of: Callable[[Tensor], Tensor],
        num_actions: int,
        initial_std: float,
    ) -> None:
        """Explore around `mean_of`, (n, d) -> (n, a), where a is `num_actions`."""
        super().__init__(policy)
        self._mean_of = mean_of
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(initial_std)))

    def best(self, observations: Tensor) -> Tensor:
        return self._mean_of(observations)

    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        mean = self._mean_of(observations)
        return mean + self._log_std().exp() * torch.randn(mean.shape, generator=generator)

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        return gaussian_log_prob(actions, self._mean_of(observations), self._log_std())

    def entropy(self, observations: Tensor) -> Tensor:
        return self._log_std().sum()

    def _log_std(self) -> Tensor:
        return self.log_std.clamp(min=MIN_LOG_STD)


class CategoricalActorCritic(ActorCritic):
    """A gate that draws one of its choices; the sharpened odds are what is deployed.

    A share of the draws is uniform, so that choices of hardly any odds are tried too.
    """

    def __init__(
        self, policy: nn.Module, exploration: float, value_features: Features | None = None
    ) -> None:
        """Draw by the logits of `policy`, (n, d) -> (n, a); `exploration` is uniform's share."""
        super().__init__(policy, value_features)
        self._exploration = exploration

    def best(self, observations: Tensor) -> Tensor:
        return self.policy(observations)

    def sample(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        odds = self._odds(observations)
        drawn = torch.multinomial(odds, 1, generator=generator)
        return torch.zeros_like(odds).scatter(1, drawn, 1.0)

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        return (self._odds(observations) * actions).sum(1).log()

    def entropy(self, observations: Tensor) -> Tensor:
        odds = self._odds(observations)
        return -(odds * odds.log()).sum(1).mean()

    def _odds(self, observations: Tensor) -> Tensor:
        weights = torch.softmax(self.policy.logits(observations), dim=1)
        share = self._exploration
        return (1.0 - share) * weights + share / weights.shape[1] + 1e-8


class PpoLearner:
    """Updates an actor-critic from rollouts."""

    def __init__(self, model: ActorCritic, config: PpoConfig) -> None:
        """Optimise `model`; actor and critic have learning rates of their own."""
        self.model, self.config = model, config
        critic = set(model.critic.parameters())
        actor = [parameter for parameter in model.parameters() if parameter not in critic]
        self.optimizer = torch.optim.Adam(
            [
                {"params": actor, "lr": config.learning_rate},
                {"params": model.critic.parameters(), "lr": config.value_learning_rate},
            ],
            eps=1e-5,
        )

    def update(
        self,
        rollout: Rollout,
        generator: torch.Generator,
        extra_loss: Callable[[], Tensor] | None = None,
        critic_only: bool = False,
        pace: float = 1.0,
    ) -> dict[str, float]:
        """One round of epochs over a rollout.

        Args:
            rollout: collected with the model as it is.
            generator: of the minibatches.
            extra_loss: added to every minibatch's, such as behavioural cloning's.
            critic_only: leave the policy as it is.
            pace: factor of the policy's learning rate.

        Returns:
            Means over the minibatches, by name.
        """
        config, model = self.config, self.model
        with torch.no_grad():
            values = model.value(rollout.observations)
            next_values = model.value(rollout.next_observations)
            advantages = generalised_advantages(
                rollout.rewards,
                values,
                next_values,
                rollout.terminated,
                rollout.ended,
                config.gamma,
                config.gae_lambda,
            )
        valid = rollout.valid.flatten()
        targets = (advantages + values).flatten()[valid]
        advantages = advantages.flatten()[valid]
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        observations = rollout.observations.flatten(0, 1)[valid]
        actions = rollout.actions.flatten(0, 1)[valid]
        old_log_probs = rollout.log_probs.flatten()[valid]
        sums: dict[str, float] = {}
        batches = 0
        self.optimizer.param_groups[0]["lr"] = pace * config.learning_rate
        for _ in range(config.epochs):
            gone: list[float] = []
            order = torch.randperm(len(targets), generator=generator)
            for pick in order.split(config.minibatch):
                value_loss = (model.value(observations[pick]) - targets[pick]).square().mean()
                parts = {"value_loss": value_loss}
                loss = config.value_weight * value_loss
                if not critic_only:
                    log_probs = model.log_prob(observations[pick], actions[pick])
                    surrogate = clipped_surrogate_loss(
                        log_probs, old_log_probs[pick], advantages[pick], config.clip
                    )
                    entropy = model.entropy(observations[pick])
                    loss = loss + surrogate - config.entropy_weight * entropy
                    # Schulman's estimate of the divergence from the policy that collected
                    ratio = log_probs.detach() - old_log_probs[pick]
                    kl = (ratio.exp() - 1.0 - ratio).mean()
                    gone.append(float(kl))
                    parts |= {"policy_loss": surrogate, "entropy": entropy, "kl": kl}
                    if extra_loss is not None:
                        extra = extra_loss()
                        loss = loss + extra
                        parts["bc_loss"] = extra
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
                self.optimizer.step()
                batches += 1
                for name, part in parts.items():
                    sums[name] = sums.get(name, 0.0) + float(part.detach())
            if gone and sum(gone) / len(gone) > config.target_kl:
                break
        return {name: value / batches for name, value in sums.items()}
