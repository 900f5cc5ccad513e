"""Gate weights made sparse, so that experts which hardly count can sleep."""

from __future__ import annotations

import numpy as np

MINIMUM_WEIGHT = 0.02
"""Weights below this are set to zero by default."""


def sparsify(
    weights: np.ndarray, top_k: int | None = None, minimum: float = MINIMUM_WEIGHT
) -> np.ndarray:
    """Keep the largest weights and make them sum to one again.

    Args:
        weights: non-negative, at least one positive. Shape (..., experts).
        top_k: how many weights to keep (all by default); of equal ones the first are kept.
        minimum: weights below this become zero; the largest always stays.

    Returns:
        The weights that remain, sum 1. Shape (..., experts), float64.

    Raises:
        ValueError: `top_k` below 1, or weights negative, not finite or all zero.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")
    if (weights.sum(axis=-1) <= 0).any():
        raise ValueError("weights are all zero")
    order = np.argsort(-weights, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    keep = weights >= minimum
    if top_k is not None:
        keep &= rank < top_k
    keep |= rank == 0
    kept = np.where(keep, weights, 0.0)
    return kept / kept.sum(axis=-1, keepdims=True)


def one_hot(index: int, size: int) -> np.ndarray:
    """Weights of a gate that always picks one expert. Shape (size,)."""
    weights = np.zeros(size)
    weights[index] = 1.0
    return weights
