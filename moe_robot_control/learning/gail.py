"""Generative adversarial imitation learning (Ho and Ermon 2016): rewards from demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import mlp

MAX_REWARD = 5.0
"""Of -log(1 - D): a discriminator that is quite sure must not drown the rest."""


@dataclass(frozen=True)
class GailConfig:
    """Hyper-parameters; `config/training/roman.yaml` says what they mean."""

    state_only: bool
    width: int
    learning_rate: float
    updates: int
    batch: int
    gradient_penalty: float


def imitation_reward(logits: Tensor) -> Tensor:
    """r_I = -log(1 - D) with D = sigmoid(logits), D = 1 for the demonstrator's. Same shape."""
    return nn.functional.softplus(logits).clamp(max=MAX_REWARD)


def discriminator_loss(demonstrated: Tensor, visited: Tensor) -> Tensor:
    """Binary cross-entropy: -E_demonstrated[log D] - E_visited[log(1 - D)], from logits."""
    return nn.functional.softplus(-demonstrated).mean() + nn.functional.softplus(visited).mean()


class Discriminator(nn.Module):
    """Tells demonstrated from visited states, or states and actions."""

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        num_inputs: int,
        num_actions: int,
        config: GailConfig,
    ) -> None:
        """Build it.

        Args:
            features: of observations, (n, d) -> (n, f).
            num_inputs: d.
            num_actions: length of an action; used unless the discriminator is state-only.
            config: its hyper-parameters.
        """
        super().__init__()
        self._features = features
        self.config = config
        size = features(torch.zeros(1, num_inputs)).shape[1]
        extra = 0 if config.state_only else num_actions
        self.layers = mlp(size + extra, 1, config.width, 2)
        self.optimizer = torch.optim.Adam(self.parameters(), config.learning_rate)

    def inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What is told apart. Shape (n, f) or (n, f + a)."""
        features = self._features(observations)
        return features if self.config.state_only else torch.cat([features, actions], dim=1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Logits of D. Shape (n,)."""
        return self.layers(self.inputs(observations, actions))[:, 0]

    def reward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """r_I. Shape (n,)."""
        with torch.no_grad():
            return imitation_reward(self(observations, actions))

    def update(
        self,
        demonstrated: tuple[Tensor, Tensor],
        visited: tuple[Tensor, Tensor],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Some gradient steps on minibatches of (observations, actions), shapes (n, d), (n, a)."""
        sums = {"discriminator_loss": 0.0, "demonstrated": 0.0, "visited": 0.0}
        for _ in range(self.config.updates):
            real = self._draw(demonstrated, generator)
            fake = self._draw(visited, generator)
            real_logits, fake_logits = self.layers(real)[:, 0], self.layers(fake)[:, 0]
            loss = discriminator_loss(real_logits, fake_logits)
            penalty = self._gradient_penalty(real, fake, generator)
            self.optimizer.zero_grad()
            (loss + self.config.gradient_penalty * penalty).backward()
            self.optimizer.step()
            sums["discriminator_loss"] += float(loss.detach())
            sums["demonstrated"] += float(torch.sigmoid(real_logits).mean().detach())
            sums["visited"] += float(torch.sigmoid(fake_logits).mean().detach())
        return {name: value / self.config.updates for name, value in sums.items()}

    def _draw(self, pairs: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(pairs[0]), (self.config.batch,), generator=generator)
        return self.inputs(pairs[0][pick], pairs[1][pick])

    def _gradient_penalty(self, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
        """E[|grad logit|^2] between the two (Gulrajani et al. 2017, about zero)."""
        share = torch.rand(len(real), 1, generator=generator)
        between = (share * real + (1.0 - share) * fake).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.layers(between).sum(), between, create_graph=True)
        return gradient.square().sum(1).mean()
