"""Sparse gate weights."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.gating import HeldWeights, OperatorWeights, one_hot, sparsify

SECOND = 10**9


def test_keeps_the_largest_and_renormalises() -> None:
    sparse = sparsify(np.array([0.1, 0.4, 0.2, 0.3]), top_k=2, minimum=0.0)
    np.testing.assert_allclose(sparse, [0.0, 0.4 / 0.7, 0.0, 0.3 / 0.7])


def test_of_equal_weights_exactly_k_stay() -> None:
    assert np.count_nonzero(sparsify(np.full(7, 1 / 7), top_k=3)) == 3


def test_small_weights_become_zero_but_the_largest_stays() -> None:
    np.testing.assert_allclose(sparsify(np.array([0.99, 0.01]), minimum=0.02), [1.0, 0.0])
    np.testing.assert_allclose(sparsify(np.array([0.6, 0.4]), minimum=0.9), [1.0, 0.0])


def test_works_on_batches() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(7), size=(5, 3))
    sparse = sparsify(weights, top_k=4)
    np.testing.assert_allclose(sparse.sum(axis=-1), 1.0)
    np.testing.assert_array_equal(sparse[2, 1], sparsify(weights[2, 1], top_k=4))


@pytest.mark.parametrize("weights", [[np.nan, 1.0], [-0.1, 1.1], [0.0, 0.0]])
def test_rejects_what_is_no_distribution(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        sparsify(np.array(weights))


def test_rejects_keeping_none() -> None:
    with pytest.raises(ValueError, match="top_k"):
        sparsify(np.ones(3) / 3, top_k=0)


def test_decisions_are_held() -> None:
    """Anew every half second, after time went back, and never twice for one stamp."""
    held = HeldWeights(0.5)
    drawn = iter(range(100))

    def decide() -> np.ndarray:
        return np.array([next(drawn)])

    steps = [held.update(k * 50_000_000, decide)[0] for k in range(25) for _ in range(2)]
    assert steps == [k // 20 for k in range(50)]
    assert held.update(0, decide)[0] == 3  # a new episode
    assert held.update(50_000_000, decide)[0] == 3
    assert held.update(0, decide)[0] == 4


def test_without_a_period_every_look_decides() -> None:
    held = HeldWeights(0.0)
    drawn = iter(range(100))
    found = [held.update(k * 50_000_000, lambda: np.array([next(drawn)]))[0] for k in range(4)]
    assert found == [0, 1, 2, 3]


def test_one_hot() -> None:
    np.testing.assert_array_equal(one_hot(1, 3), [0.0, 1.0, 0.0])


def test_an_operators_weights_are_fresh_for_a_while() -> None:
    operator = OperatorWeights(("a", "b", "c"), deadline=0.5)
    assert operator.at(0) is None
    operator.set(10 * SECOND, {"a": 1.0, "c": 3.0})
    for stamp in (10 * SECOND, 10 * SECOND + SECOND // 2, 10 * SECOND - SECOND // 2):
        assert np.allclose(operator.at(stamp), [0.25, 0.0, 0.75])
    # let go, and time that was set back for a new episode
    assert operator.at(10 * SECOND + SECOND // 2 + 1) is None
    assert operator.at(9 * SECOND) is None


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 1.0, "dance": 1.0}, "'dance'"),
        ({"a": 0.0}, "all zero"),
        ({}, "all zero"),
        ({"a": -1.0, "b": 2.0}, "negative"),
        ({"a": float("nan"), "b": 1.0}, "not finite"),
    ],
)
def test_an_operators_bad_weights_are_refused(weights: dict[str, float], words: str) -> None:
    operator = OperatorWeights(("a", "b"), deadline=0.5)
    operator.set(0, {"a": 1.0})
    with pytest.raises(ValueError, match=words):
        operator.set(1, weights)
    assert operator.at(1) is None
