"""Distributions of actions whose densities are known: of one policy, and of a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moe_robot_control.learning.ppo import gaussian_log_prob


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians.

    Attributes:
        mean: shape (..., a).
        log_std: natural logarithm of the standard deviations. Shape (..., a) or (a,).
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw. Shape (..., a)."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype)
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of actions. (..., a) -> (...)."""
        return gaussian_log_prob(actions, self.mean, self.log_std)

    def best(self) -> Tensor:
        """The likeliest action. Shape (..., a)."""
        return self.mean

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance along each axis. Shapes (..., a)."""
        return self.mean, (2.0 * self.log_std).exp().expand_as(self.mean)

    def exploration(self) -> Tensor:
        """Entropy [nats]. Shape (...)."""
        constant = 0.5 * math.log(2.0 * math.pi * math.e)
        return (self.log_std + constant).expand_as(self.mean).sum(-1)


@dataclass(frozen=True)
class Coarse:
    """A few actions of which one is drawn, and shaken a little.

    The shaking gives it a density, without which it could not be mixed with a continuous policy:
    p(a) = sum_j p_j N(a; c_j, s^2).

    Attributes:
        logits: of the choices, but for a constant. Shape (..., m).
        centres: the actions c_j. Shape (m, a), or (..., m, a) where they differ.
        std: s.
    """

    logits: Tensor
    centres: Tensor
    std: float

    def sample(self, generator: torch.Generator) -> Tensor:
        """A draw. Shape (..., a)."""
        odds = torch.softmax(self.logits, dim=-1)
        flat = torch.multinomial(odds.reshape(-1, odds.shape[-1]), 1, generator=generator)
        centre = self._centre(flat.reshape(odds.shape[:-1]))
        return centre + self.std * torch.randn(
            centre.shape, generator=generator, dtype=centre.dtype
        )

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density of actions. (..., a) -> (...)."""
        log_std = self.centres.new_full(self.centres.shape[-1:], math.log(self.std))
        each = gaussian_log_prob(actions[..., None, :], self.centres, log_std)
        return torch.logsumexp(torch.log_softmax(self.logits, dim=-1) + each, dim=-1)

    def best(self) -> Tensor:
        """The likeliest choice. Shape (..., a)."""
        return self._centre(self.logits.argmax(dim=-1))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance along each axis. Shapes (..., a)."""
        odds = torch.softmax(self.logits, dim=-1)[..., None, :]
        mean = (odds @ self.centres)[..., 0, :]
        square = (odds @ self.centres.square())[..., 0, :]
        return mean, square - mean.square() + self.std**2

    def exploration(self) -> Tensor:
        """Entropy of the choice [nats]. Shape (...)."""
        log_odds = torch.log_softmax(self.logits, dim=-1)
        return -(log_odds.exp() * log_odds).sum(-1)

    def _centre(self, choices: Tensor) -> Tensor:
        """The actions of choices. (...) -> (..., a)."""
        centres = self.centres.expand(*choices.shape, *self.centres.shape[-2:])
        return torch.take_along_dim(centres, choices[..., None, None], dim=-2)[..., 0, :]


Distribution = Gaussian | Coarse


def of_first_step(distribution: Distribution) -> Distribution:
    """From sequences of one step, (1, n, ...), to that step, (n, ...)."""
    if isinstance(distribution, Gaussian):
        return replace(distribution, mean=distribution.mean[0])
    return replace(distribution, logits=distribution.logits[0], centres=distribution.centres[0])


def detached(distribution: Distribution) -> Distribution:
    """The same, through which no gradient flows."""
    if isinstance(distribution, Gaussian):
        mean, log_std = distribution.mean.detach(), distribution.log_std.detach()
        return replace(distribution, mean=mean, log_std=log_std)
    return replace(distribution, logits=distribution.logits.detach())


def cross_entropy(first: Distribution, second: Gaussian) -> Tensor:
    """-E_{a ~ first}[log second(a)], in closed form. Shape (...).

    What a Gaussian needs to know of another distribution are its mean m and variance v:
    sum over axes of (v + (m - mu)^2) / (2 sigma^2) + log sigma + log(2 pi) / 2.
    """
    mean, variance = first.moments()
    square = (variance + (mean - second.mean).square()) * torch.exp(-2.0 * second.log_std)
    return (0.5 * square + second.log_std + 0.5 * math.log(2.0 * math.pi)).sum(-1)


def divergence(first: Gaussian, second: Gaussian) -> Tensor:
    """KL(first || second) [nats]. Shape (...)."""
    return cross_entropy(first, second) - first.exploration()


def transfer(teacher: Distribution, student: Gaussian) -> Tensor:
    """KL(teacher || student) as far as the student can lower it [nats]. Shape (...).

    The whole divergence of a Gaussian teacher. The entropy of a coarse one has no closed form;
    being a constant to the student it is left out, which changes no gradient.
    """
    if isinstance(teacher, Gaussian):
        return divergence(teacher, student)
    return cross_entropy(teacher, student)


def mixture_log_prob(log_probs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """log sum_i w_i pi_i(a), from the log densities of the components. Shape (...).

    Components without weight are left out altogether: nothing flows back to them.

    Args:
        log_probs: log pi_i(a), each of shape (...).
        weights: w_i, which sum to one.
    """
    parts = [
        log_prob if weight == 1.0 else log_prob + math.log(weight)
        for log_prob, weight in zip(log_probs, weights, strict=True)
        if weight > 0.0
    ]
    return parts[0] if len(parts) == 1 else torch.logsumexp(torch.stack(parts), dim=0)
