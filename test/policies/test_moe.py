"""The sparsely-gated mixture at run time."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.gating import one_hot
from moe_robot_control.policies.moe import Expert, SparseMixture, top_k_softmax

EXPERTS = 7


def linear_expert(seed: int) -> Expert:
    matrix = np.random.default_rng(seed).normal(size=(5, 4))
    return lambda x: x @ matrix


def raising_expert(x: np.ndarray) -> np.ndarray:
    raise AssertionError(f"called with {len(x)} rows")


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 5))


@pytest.mark.parametrize("k", range(1, EXPERTS + 1))
def test_exactly_k_weights_of_sum_one(k: int) -> None:
    logits = np.random.default_rng(k).normal(size=(20, 3, EXPERTS))
    weights = top_k_softmax(logits, k)
    assert (np.count_nonzero(weights, axis=-1) == k).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0)
    awake = np.where(weights > 0, logits, np.inf).min(axis=-1)
    asleep = np.where(weights > 0, -np.inf, logits).max(axis=-1)
    assert (awake > asleep).all()


def test_weights_against_a_case_by_hand() -> None:
    weights = top_k_softmax(np.log([1.0, 6.0, 0.5, 2.0]), 2)
    np.testing.assert_allclose(weights, [0.0, 0.75, 0.0, 0.25])


def test_of_equal_logits_the_first_are_kept() -> None:
    np.testing.assert_allclose(top_k_softmax(np.zeros(4), 2), [0.5, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(top_k_softmax(np.array([0.0, 1.0, 1.0]), 1), [0.0, 1.0, 0.0])


def test_far_apart_logits_still_keep_k() -> None:
    weights = top_k_softmax(np.array([5000.0, -5000.0, 0.0]), 3)
    assert np.count_nonzero(weights) == 3
    np.testing.assert_allclose(weights, [1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("k", [-1, 0, 8])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(ValueError, match="k must be within 1 and 7"):
        top_k_softmax(np.zeros((2, EXPERTS)), k)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match="logits must be finite"):
        top_k_softmax(np.array([0.0, wrong, 1.0]), 1)


@pytest.mark.parametrize("k", range(1, EXPERTS + 1))
def test_sparse_equals_the_dense_sum(inputs: np.ndarray, k: int) -> None:
    experts = [linear_expert(seed) for seed in range(EXPERTS)]
    weights = top_k_softmax(np.random.default_rng(1).normal(size=(30, EXPERTS)), k)
    dense = sum(weights[:, [i]] * expert(inputs) for i, expert in enumerate(experts))
    np.testing.assert_allclose(SparseMixture(experts)(inputs, weights), dense, atol=1e-12)


def test_experts_outside_the_top_k_are_not_called(inputs: np.ndarray) -> None:
    logits = np.random.default_rng(2).normal(size=(30, EXPERTS))
    logits[:, [0, 3]] -= 100.0
    experts = [linear_expert(seed) for seed in range(EXPERTS)]
    weights = top_k_softmax(logits, 2)
    expected = SparseMixture(experts)(inputs, weights)
    experts[0] = experts[3] = raising_expert
    np.testing.assert_array_equal(SparseMixture(experts)(inputs, weights), expected)


def test_an_expert_sees_only_its_own_rows(inputs: np.ndarray) -> None:
    seen: list[np.ndarray] = []

    def spy(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.ones((len(x), 4))

    weights = np.tile(one_hot(0, 2), (30, 1))
    weights[[4, 11]] = [0.25, 0.75]
    mixed = SparseMixture([lambda x: np.zeros((len(x), 4)), spy])(inputs, weights)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], inputs[[4, 11]])
    np.testing.assert_array_equal(mixed[:, 0], weights[:, 1])


def test_empty_batch_calls_nobody() -> None:
    mixture = SparseMixture([raising_expert] * 3, outputs=2)
    assert mixture(np.zeros((0, 5)), np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("shape", [(30, 2), (29, 3), (3,)])
def test_weights_that_do_not_fit(inputs: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit 30 inputs and 3 experts"):
        SparseMixture([raising_expert] * 3)(inputs, np.zeros(shape))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1])
def test_weights_that_are_no_weights(inputs: np.ndarray, wrong: float) -> None:
    weights = np.zeros((30, 2))
    weights[7, 1] = wrong
    with pytest.raises(ValueError, match="finite and not negative"):
        SparseMixture([raising_expert] * 2)(inputs, weights)


def test_answer_of_the_wrong_size(inputs: np.ndarray) -> None:
    mixture = SparseMixture([lambda x: x])
    with pytest.raises(ValueError, match="expert 0 answered"):
        mixture(inputs, np.ones((30, 1)))


def test_no_experts() -> None:
    with pytest.raises(ValueError, match="at least one expert"):
        SparseMixture([])
