"""Filter of object positions: quiet looks pass, noisy ones come out better than they went in."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.object_filter import ObjectFilter
from moe_robot_control.policies.spaces import OBJECTS

K = len(OBJECTS)
VIAL = OBJECTS.index("vial")
FAR = 5.0
"""Coordinate of an end effector that touches nothing [m]."""


def still(looks: int, scenes: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Objects that stand still, and an end effector far away from them."""
    positions = np.random.default_rng(seed).uniform(-0.5, 0.5, (scenes, K, 3))
    return np.tile(positions, (looks, 1, 1, 1)), np.full((looks, scenes, 3), FAR)


def carried(looks: int, scenes: int, rest: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects in the fingers, which rest for some looks and then go along x at 0.2 m/s."""
    tip = np.zeros((looks, scenes, 3))
    tip[rest:, :, 0] = 0.2 * 0.05 * np.arange(1, looks - rest + 1)[:, None]
    offset = np.random.default_rng(8).uniform(-0.02, 0.02, (scenes, K, 3))
    return tip[:, :, None] + offset, tip


def noisy(true: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    return true + noise * np.random.default_rng(seed).normal(size=true.shape)


def filtered(
    looks: np.ndarray,
    tip: np.ndarray,
    seen: np.ndarray | None = None,
    width: np.ndarray | None = None,
) -> np.ndarray:
    """All answers of a new filter. Shape (looks, scenes, 11, 3)."""
    count, scenes = looks.shape[:2]
    seen = np.ones((count, scenes, K), dtype=bool) if seen is None else seen
    widths = [None] * count if width is None else width
    own = ObjectFilter(scenes)
    return np.stack([own.update(looks[t], seen[t], tip[t], widths[t]) for t in range(count)])


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.square(errors).mean()))


@pytest.mark.parametrize("noise", [0.0, 0.0005, 0.001])
@pytest.mark.parametrize("scene", ["still", "carried"])
def test_quiet_looks_pass_unchanged(noise: float, scene: str) -> None:
    true, tip = still(100, 20) if scene == "still" else carried(60, 20, rest=20)
    looks = noisy(true, noise)
    np.testing.assert_array_equal(filtered(looks, tip), looks)


def test_an_object_moved_between_quiet_looks_is_there_at_once() -> None:
    true, tip = still(60, 20)
    true[30:, :, :, 1] += 0.04
    looks = noisy(true, 0.001)
    np.testing.assert_array_equal(filtered(looks, tip), looks)


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.02])
def test_noise_on_still_objects_is_averaged_out(noise: float) -> None:
    true, tip = still(40, 50)
    error = filtered(noisy(true, noise), tip)[-1] - true[-1]
    # 4 mm at a noise of 10 mm
    assert rms(error) < 0.4 * noise
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.1 * noise


def test_noise_is_told_from_none() -> None:
    """What is noisier than 2.5 mm is filtered, what is quieter is not, side by side."""
    true, tip = still(80, 20)
    size = np.linspace(0.0005, 0.01, K)
    looks = true + size[:, None] * np.random.default_rng(0).normal(size=true.shape)
    same = (filtered(looks, tip)[50:] == looks[50:]).all(axis=-1).mean(axis=(0, 1))
    assert (same[size < 0.0016] == 1.0).all()
    assert (same[size > 0.0042] == 0.0).all()


def test_no_look_comes_out_worse_than_it_went_in() -> None:
    true, tip = still(10, 100)
    looks = noisy(true, 0.01)
    out = filtered(looks, tip)
    for t in range(10):
        assert rms(out[t] - true[t]) < 1.05 * rms(looks[t] - true[t])


def test_a_carried_object_is_followed_without_lag() -> None:
    true, tip = carried(60, 50, rest=20)
    error = filtered(noisy(true, 0.01), tip) - true
    assert all(rms(error[t]) < 0.008 for t in range(20, 60))
    assert rms(error[32:]) < 0.0045
    # one look of motion is 10 mm
    assert abs(error[32:, :, :, 0].mean()) < 0.002
    assert np.abs(error[32:, :, :, 1:].mean(axis=(0, 1, 2))).max() < 0.0005


def test_a_grasped_vial_is_followed_at_once() -> None:
    true, tip = carried(40, 200, rest=20)
    looks = noisy(true, 0.02)
    width = np.full((40, 200), 0.08)
    unaware = filtered(looks, tip, width=width)[:, :, VIAL] - true[:, :, VIAL]
    width[20:] = VIAL_WIDTH
    error = filtered(looks, tip, width=width)[:, :, VIAL] - true[:, :, VIAL]
    lag = -error[:, :, 0].mean(axis=1)
    assert lag[20:].max() < 0.003 and all(rms(error[t]) < 0.009 for t in range(20, 40))
    assert -unaware[26, :, 0].mean() > 0.01  # open fingers carry nothing


def test_a_vial_let_go_stays() -> None:
    """Open fingers that leave do not take it along."""
    true, tip = still(60, 100)
    tip[:] = true[:, :, VIAL]
    tip[30:, :, 2] += 0.2 * 0.05 * np.arange(1, 31)[:, None]
    width = np.full((60, 100), VIAL_WIDTH)
    width[30:] = 0.07
    error = filtered(noisy(true, 0.02), tip, width=width)[:, :, VIAL] - true[:, :, VIAL]
    assert abs(error[30:, :, 2].mean(axis=1)).max() < 0.003


def test_what_the_fingers_only_pass_stays() -> None:
    """An end effector that goes by does not drag objects along."""
    true, tip = still(60, 50)
    tip[:] = true[:, :, 0]
    tip[20:, :, 0] += 0.2 * 0.05 * np.arange(1, 41)[:, None]
    error = filtered(noisy(true, 0.01), tip)[:, :, 0] - true[:, :, 0]
    assert rms(error[35:]) < 0.005 and abs(error[35:, :, 0].mean()) < 0.002


def test_an_object_moved_by_somebody_else_is_found_again() -> None:
    true, tip = still(70, 50)
    shift = np.random.default_rng(2).normal(size=true.shape[1:])
    shift *= 0.04 / np.linalg.norm(shift, axis=-1, keepdims=True)
    true[50:] += shift
    error = filtered(noisy(true, 0.005), tip)[64] - true[64]
    assert np.linalg.norm(error, axis=-1).max() < 0.012
    assert rms(error) < 0.003


def test_hidden_objects_do_not_disturb_the_others() -> None:
    true, tip = still(40, 5)
    looks = noisy(true, 0.01)
    alone = filtered(looks, tip)
    seen = np.ones(looks.shape[:3], dtype=bool)
    seen[:, :, 0] = False
    seen[10:30, :, 1] = False
    looks[~seen] = np.nan
    some = filtered(looks, tip, seen)
    np.testing.assert_array_equal(some[:, :, 2:], alone[:, :, 2:])
    assert np.isfinite(some[seen]).all()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_is_seen_anew_begins_with_the_new_look(noise: float) -> None:
    true, tip = still(60, 5)
    true[30:, :, 4] += [0.0, 0.2, 0.0]
    looks = noisy(true, noise)
    seen = np.ones(looks.shape[:3], dtype=bool)
    seen[20:30, :, 4] = False
    out = filtered(looks, tip, seen)
    np.testing.assert_allclose(out[30, :, 4], looks[30, :, 4], atol=1e-12)
    assert rms(out[45:, :, 4] - true[45:, :, 4]) < 0.5 * noise + 1e-12


def test_scenes_of_a_batch_are_independent() -> None:
    """A batch gives each scene what a filter of its own would, whatever the others hold."""
    parts = [still(40, 1), carried(40, 1, rest=10), still(40, 1, seed=3)]
    true, tips = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    looks = noisy(true, 0.01)
    looks[:, 1] = noisy(true[:, 1], 0.005)
    looks[:, 2] = true[:, 2]
    seen = np.random.default_rng(5).random(looks.shape[:3]) < 0.97
    together = filtered(looks, tips, seen)
    for i in range(3):
        alone = filtered(looks[:, i : i + 1], tips[:, i : i + 1], seen[:, i : i + 1])
        np.testing.assert_allclose(together[:, i][seen[:, i]], alone[:, 0][seen[:, i]], atol=1e-12)


def test_reset_forgets_only_what_it_names() -> None:
    true, tip = still(40, 3)
    looks = noisy(true, 0.01)
    seen = np.ones((3, K), dtype=bool)
    one, other = ObjectFilter(3), ObjectFilter(3)
    for t in range(20):
        one.update(looks[t], seen, tip[t])
        other.update(looks[t], seen, tip[t])
    one.reset(np.array([1]))
    fresh = ObjectFilter(1)
    for t in range(20, 40):
        after, before = (each.update(looks[t], seen, tip[t]) for each in (one, other))
        new = fresh.update(looks[t, 1:2], seen[:1], tip[t, 1:2])
        np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
        np.testing.assert_allclose(after[1], new[0], atol=1e-12)
    assert not np.array_equal(after[1], before[1])
    one.reset()
    np.testing.assert_array_equal(one.update(looks[0], seen, tip[0]), looks[0])
