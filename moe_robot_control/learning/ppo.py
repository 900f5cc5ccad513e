"""Proximal policy optimisation (Schulman et al. 2017) for Gaussian policies.

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
    initial_std: float
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


class GaussianActorCritic(nn.Module):
    """A policy network with Gaussian exploration about its answer, and a value network."""

    def __init__(
        self,
        policy: nn.Module,
        mean_of: Callable[[Tensor], Tensor],
        num_actions: int,
        initial_std: float,
        width: int = 128,
    ) -> None:
        """Wrap a policy.

        Args:
            policy: with `num_inputs` and `features`, which the value network shares.
            mean_of: the mean action of observations, (n, d) -> (n, a).
            num_actions: a.
            initial_std: of the exploration on each axis.
            width: hidden units of the value network.
        """
        super().__init__()
        self.policy = policy
        self._mean_of = mean_of
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(initial_std)))
        size = policy.features(torch.zeros(1, policy.num_inputs)).shape[1]
        self.critic = mlp(size, 1, width, 2)

    def mean(self, observations: Tensor) -> Tensor:
        """Mean actions. Shape (n, a)."""
        return self._mean_of(observations)

    def value(self, observations: Tensor) -> Tensor:
        """Expected discounted return. (..., d) -> (...)."""
        flat = observations.reshape(-1, observations.shape[-1])
        return self.critic(self.policy.features(flat)).reshape(observations.shape[:-1])

    def std(self) -> Tensor:
        """Standard deviation of the exploration. Shape (a,)."""
        return self.log_std.clamp(min=MIN_LOG_STD).exp()

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log density of actions. Shape (n,)."""
        return gaussian_log_prob(
            actions, self.mean(observations), self.log_std.clamp(min=MIN_LOG_STD)
        )


class PpoLearner:
    """Updates an actor-critic from rollouts."""

    def __init__(self, model: GaussianActorCritic, config: PpoConfig) -> None:
        """Optimise `model`; actor and critic have learning rates of their own."""
        self.model, self.config = model, config
        actor = [*model.policy.parameters(), model.log_std]
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
    ) -> dict[str, float]:
        """One round of epochs over a rollout.

        Args:
            rollout: collected with the model as it is.
            generator: of the minibatches.
            extra_loss: added to every minibatch's, such as behavioural cloning's.
            critic_only: leave the policy as it is.

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
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        observations = rollout.observations.flatten(0, 1)[valid]
        actions = rollout.actions.flatten(0, 1)[valid]
        old_log_probs = rollout.log_probs.flatten()[valid]
        sums: dict[str, float] = {}
        batches = 0
        for _ in range(config.epochs):
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
                    # of a Gaussian, but for a constant
                    entropy = model.log_std.clamp(min=MIN_LOG_STD).sum()
                    loss = loss + surrogate - config.entropy_weight * entropy
                    parts |= {
                        "policy_loss": surrogate,
                        "kl": (old_log_probs[pick] - log_probs).mean(),
                    }
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
        means = {name: value / batches for name, value in sums.items()}
        return means | {"std": float(model.std().mean())}
