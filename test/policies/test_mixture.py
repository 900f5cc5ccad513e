import numpy as np
import pytest

from moe_robot_control.policies.gating import one_hot
from moe_robot_control.policies.mixture import mix


@pytest.fixture
def actions() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 7, 4))


def test_one_hot_weights_pick_exactly(actions: np.ndarray) -> None:
    for expert in range(7):
        weights = np.tile(one_hot(expert, 7), (5, 1))
        assert np.array_equal(mix(actions, weights), actions[:, expert])


def test_equal_actions_stay(actions: np.ndarray) -> None:
    weights = np.random.default_rng(1).dirichlet(np.ones(7), size=5)
    same = np.repeat(actions[:, :1], 7, axis=1)
    assert np.allclose(mix(same, weights), same[:, 0], atol=1e-12)


def test_order_of_experts_does_not_matter(actions: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.ones(7), size=5)
    order = rng.permutation(7)
    assert np.allclose(mix(actions, weights), mix(actions[:, order], weights[:, order]))


def test_mixture_stays_between_the_experts(actions: np.ndarray) -> None:
    weights = np.random.default_rng(3).dirichlet(np.ones(7), size=5)
    mixed = mix(actions, weights)
    assert (mixed <= actions.max(axis=1) + 1e-12).all()
    assert (mixed >= actions.min(axis=1) - 1e-12).all()


def test_sleeping_experts_may_hold_nan(actions: np.ndarray) -> None:
    weights = np.zeros((5, 7))
    weights[:, [1, 4]] = [0.25, 0.75]
    expected = 0.25 * actions[:, 1] + 0.75 * actions[:, 4]
    asleep = actions.copy()
    asleep[:, weights[0] == 0] = np.nan
    assert np.allclose(mix(asleep, weights), expected)


def test_awake_expert_with_nan_shows(actions: np.ndarray) -> None:
    actions[0, 3] = np.nan
    assert np.isnan(mix(actions[0], np.full(7, 1 / 7))).all()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        mix(np.zeros((7, 4)), np.zeros(6))
