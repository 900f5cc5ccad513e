"""The mixture of experts' actions that the arm executes."""

from __future__ import annotations

import numpy as np


def mix(actions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum of the experts' actions, y = sum_j w_j a_j.

    Args:
        actions: velocity [m/s] and gripper opening [m] of every expert; rows of experts whose
            weight is zero may hold anything, NaN too. Shape (..., E, 4).
        weights: the gate's weights, not negative, of sum one. Shape (..., E).

    Returns:
        Shape (..., 4).

    Raises:
        ValueError: the shapes do not belong together.
    """
    actions = np.asarray(actions, dtype=np.float64)
    weights = np.asarray(weights, dtype=np.float64)
    if actions.shape[:-1] != weights.shape:
        raise ValueError(f"{actions.shape} actions do not fit {weights.shape} weights")
    share = weights[..., None]
    return np.where(share == 0.0, 0.0, share * actions).sum(axis=-2)
