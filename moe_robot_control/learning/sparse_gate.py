"""Noisy top-k gating and its balancing losses (Shazeer et al. 2017, arXiv 1701.06538)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import GateNetwork
from moe_robot_control.policies.spaces import SKILLS

LARGEST_GAP = 80.0
"""How far a kept logit counts as below the largest; beyond it a float32 weight would become 0."""
MINIMUM_STD = 1e-6
"""Smallest standard deviation of the noise; keeps the load finite where softplus becomes 0."""


@dataclass(frozen=True)
class Gating:
    """A gate's answer for a batch."""

    weights: Tensor
    """G(x): of sum one, exactly k not zero. Shape (n, E)."""
    load: Tensor
    """P(x, i): how likely expert i is kept if only its own noise is drawn anew. Shape (n, E)."""


class NoisyTopKGate(nn.Module):
    """G(x) = Softmax(KeepTopK(H(x), k)) (eq. 3-5), with noise only while training.

    Args:
        num_inputs: size F of the inputs.
        num_experts: E.
        k: how many experts stay awake.

    Raises:
        ValueError: `k` outside 1..E.
    """

    def __init__(self, num_inputs: int, num_experts: int, k: int) -> None:
        super().__init__()
        if not 1 <= k <= num_experts:
            raise ValueError(f"k must be within 1 and {num_experts}, not {k}")
        self.num_experts = num_experts
        self.k = k
        self.w_gate = nn.Parameter(torch.randn(num_inputs, num_experts) * num_inputs**-0.5)
        self.w_noise = nn.Parameter(torch.zeros(num_inputs, num_experts))

    def logits(self, x: Tensor) -> Tensor:
        """Logits without noise, x W_g. Shape (n, E)."""
        return x @ self.w_gate

    def noise_std(self, x: Tensor) -> Tensor:
        """Standard deviation of the logits' noise, softplus(x W_noise). Shape (n, E)."""
        return nn.functional.softplus(x @ self.w_noise).clamp_min(MINIMUM_STD)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Gating:
        """Weights and load of inputs of shape (n, F).

        Args:
            generator: of the noise, by default PyTorch's own; without use in eval mode.
        """
        clean, std = self.logits(x), self.noise_std(x)
        noisy = clean
        if self.training:
            noise = torch.randn(
                clean.shape, generator=generator, dtype=clean.dtype, device=clean.device
            )
            noisy = clean + noise * std  # eq. 4
        values, order = noisy.topk(min(self.k + 1, self.num_experts), dim=1)
        best = torch.maximum(values[:, : self.k], values[:, :1] - LARGEST_GAP)
        share = torch.softmax(best, dim=1)
        zeros = noisy - noisy  # the export would fix the batch size of zeros_like
        weights = zeros.scatter(1, order[:, : self.k], share)
        if self.k == self.num_experts:  # the threshold is -inf: all are kept, whatever the noise
            return Gating(weights, torch.ones_like(weights))
        # kth_excluding(H, k, i): a kept expert has to beat the next one, the others the last kept
        threshold = torch.where(weights > 0, values[:, self.k :], values[:, self.k - 1 : self.k])
        return Gating(weights, torch.special.ndtr((clean - threshold) / std))  # eq. 9


def cv_squared(x: Tensor) -> Tensor:
    """Squared coefficient of variation of non-negative values; 0 if all are zero. A scalar."""
    return x.var(correction=0) / (x.mean().square() + 1e-10)


def importance_loss(weights: Tensor) -> Tensor:
    """CV(sum of each expert's weights over the batch)^2 (eq. 6-7, before its factor).

    Args:
        weights: shape (n, E).
    """
    return cv_squared(weights.sum(dim=0))


def load_loss(load: Tensor) -> Tensor:
    """CV(sum of each expert's load over the batch)^2 (eq. 10-11, before its factor).

    Args:
        load: `Gating.load`, shape (n, E).
    """
    return cv_squared(load.sum(dim=0))


class SparseGateNetwork(GateNetwork):
    """Observation of the whole scene, (n, 48), to weights of the experts, (n, 7), k not zero.

    Args:
        width: of the hidden layers.
        depth: how many hidden layers come before the noisy top-k gate.
        k: how many experts stay awake.

    Raises:
        ValueError: `k` outside 1..7.
    """

    def __init__(self, width: int = 128, depth: int = 2, k: int = 2) -> None:
        super().__init__(width, depth)
        self.top_k_gate = NoisyTopKGate(self.layers[-1].in_features, len(SKILLS), k)
        self.layers = self.layers[:-1]

    def _hidden(self, observation: Tensor) -> Tensor:
        return self.layers(self.features(observation))

    def logits(self, observation: Tensor) -> Tensor:
        """Logits without noise, of all experts. Shape (n, 7)."""
        return self.top_k_gate.logits(self._hidden(observation))

    def gate(self, observation: Tensor, generator: torch.Generator | None = None) -> Gating:
        """Weights and load, both (n, 7), for the balancing losses; see `NoisyTopKGate`."""
        return self.top_k_gate(self._hidden(observation), generator)

    def forward(self, observation: Tensor) -> Tensor:
        return self.gate(observation).weights
