"""Noise and pushes on an arm's motion."""

from __future__ import annotations

import numpy as np

from moe_robot_control.world.unsteady import NOISE_STD, PUSH_RATE, PUSH_STEPS, Unsteadiness


def run(seed: int, count: int) -> np.ndarray:
    unsteady = Unsteadiness(np.random.default_rng(seed))
    return np.array([unsteady.step() for _ in range(count)])


def test_it_is_smooth_without_a_mean_and_repeatable() -> None:
    velocities = run(0, 20_000)
    assert np.array_equal(velocities, run(0, 20_000))
    assert not np.array_equal(velocities, run(1, 20_000))
    assert np.abs(velocities.mean(axis=0)).max() < 0.005
    # neighbours resemble each other: what it does to the tip adds up
    assert np.corrcoef(velocities[1:, 0], velocities[:-1, 0])[0, 1] > 0.7


def test_pushes_are_seldom_and_last() -> None:
    sizes = np.linalg.norm(run(2, 20_000), axis=1)
    pushed = sizes > 6 * NOISE_STD
    share = PUSH_RATE * PUSH_STEPS
    assert 0.3 * share < pushed.mean() < share
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], pushed, [0]]).astype(int))))[::2]
    assert runs.max() >= PUSH_STEPS - 1
