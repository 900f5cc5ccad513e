"""The sparsely-gated mixture of experts (Shazeer et al. 2017, arXiv 1701.06538) at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moe_robot_control.policies.mixture import mix
from moe_robot_control.policies.spaces import ACTION_LOW

Expert = Callable[[np.ndarray], np.ndarray]
"""Inputs (m, F) to actions (m, outputs)."""
LARGEST_GAP = 700.0
"""How far a kept logit counts as below the largest; beyond it a float64 weight would become 0."""


def top_k_softmax(logits: np.ndarray, k: int) -> np.ndarray:
    """Softmax over the k largest logits, zero elsewhere (eq. 3 and 5, without noise).

    Args:
        logits: one per expert. Shape (..., E).
        k: how many experts stay awake; of equal logits the first are kept.

    Returns:
        Weights of sum 1, exactly k of them not zero. Shape (..., E), float64.

    Raises:
        ValueError: `k` outside 1..E, or logits that are not finite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k must be within 1 and {logits.shape[-1]}, not {k}")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite")
    kept = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    best = np.take_along_axis(logits, kept, axis=-1)
    share = np.exp(np.maximum(best - best[..., :1], -LARGEST_GAP))
    weights = np.zeros_like(logits)
    np.put_along_axis(weights, kept, share / share.sum(axis=-1, keepdims=True), axis=-1)
    return weights


class SparseMixture:
    """y = sum_i w_i E_i(x) (eq. 1), where experts of weight zero are not computed.

    Args:
        experts: E functions of a batch of inputs.
        outputs: size of every expert's action.

    Raises:
        ValueError: there is no expert.
    """

    def __init__(self, experts: Sequence[Expert], outputs: int = ACTION_LOW.size) -> None:
        if not experts:
            raise ValueError("a mixture needs at least one expert")
        self.experts = tuple(experts)
        self.outputs = outputs

    def __call__(self, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Ask every expert for the rows in which it has a weight, and mix the answers.

        Args:
            inputs: what all experts see. Shape (n, F).
            weights: the gate's weights, not negative, of sum one. Shape (n, E).

        Returns:
            Shape (n, outputs), float64.

        Raises:
            ValueError: weights negative, not finite or not of shape (n, E), or an expert's
                answer of another size than `outputs`.
        """
        inputs = np.asarray(inputs)
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != (len(inputs), len(self.experts)):
            raise ValueError(
                f"{weights.shape} weights do not fit {len(inputs)} inputs "
                f"and {len(self.experts)} experts"
            )
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite and not negative")
        actions = np.zeros((*weights.shape, self.outputs))
        for i, expert in enumerate(self.experts):
            rows = np.flatnonzero(weights[:, i])
            if rows.size == 0:
                continue
            answer = np.asarray(expert(inputs[rows]))
            if answer.shape != (rows.size, self.outputs):
                raise ValueError(
                    f"expert {i} answered {answer.shape}, not {(rows.size, self.outputs)}"
                )
            actions[rows, i] = answer
        return mix(actions, weights)
