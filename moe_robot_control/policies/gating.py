"""Gate weights made sparse, so that experts which hardly count can sleep, and held for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moe_robot_control.policies.spaces import DECISION_PERIOD

MINIMUM_WEIGHT = 0.02
"""Weights below this are set to zero by default."""
HOLD = 0.5
"""For so long the gate keeps to a decision by default [s]."""
HOLD_STEPS = round(HOLD / DECISION_PERIOD)


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


class HeldWeights:
    """Weights that are decided anew every so often, however often they are asked for.

    A gate that changes its mind at every look can waver for ever between two experts, each of
    which undoes what the other began.
    """

    def __init__(self, period: float = HOLD) -> None:
        """Hold every decision for `period` [s]; zero decides at every look."""
        self._period = round((period - DECISION_PERIOD / 2) * 1e9)
        self._since: int | None = None
        self._last: int | None = None
        self._weights = np.zeros(0)

    def update(self, stamp: int, decide: Callable[[], np.ndarray]) -> np.ndarray:
        """The weights for an observation.

        Args:
            stamp: of the observation [ns]; time that goes back begins anew.
            decide: called where a decision is due.
        """
        again = self._last is not None and stamp == self._last
        back = self._last is not None and stamp < self._last
        if not again and (self._since is None or back or stamp - self._since >= self._period):
            self._weights = decide()
            self._since = stamp
        self._last = stamp
        return self._weights


class OperatorWeights:
    """The weights that an operator gives experts, as long as they are fresh.

    Stamps are integers [ns].
    """

    def __init__(self, experts: Sequence[str], deadline: float) -> None:
        """Begin without weights.

        Args:
            experts: names, in the order of the weights.
            deadline: weights are fresh for observations within so long [s].
        """
        self._experts = tuple(experts)
        self._deadline = round(deadline * 1e9)
        self._newest: tuple[int, np.ndarray] | None = None

    def set(self, stamp: int, weights: Mapping[str, float]) -> None:
        """Take weights by the experts' names; missing experts weigh nothing.

        Raises:
            ValueError: an unknown expert, or weights negative, not finite or all zero; the
                operator then has none.
        """
        self._newest = None
        for name in weights:
            if name not in self._experts:
                raise ValueError(f"weighs an unknown expert {name!r}")
        array = np.array([weights.get(name, 0.0) for name in self._experts], dtype=np.float64)
        if not np.isfinite(array).all() or (array < 0).any() or array.sum() <= 0:
            raise ValueError("weights are not finite, negative or all zero")
        self._newest = stamp, array / array.sum()

    def at(self, stamp: int) -> np.ndarray | None:
        """The weights for an observation, sum 1; None where there are no fresh ones.

        An observation lags behind the operator by what perception takes, and after time was set
        back it is far away from what he said before.
        """
        if self._newest is None or abs(stamp - self._newest[0]) > self._deadline:
            return None
        return self._newest[1]


def one_hot(index: int, size: int) -> np.ndarray:
    """Weights of a gate that always picks one expert. Shape (size,)."""
    weights = np.zeros(size)
    weights[index] = 1.0
    return weights
