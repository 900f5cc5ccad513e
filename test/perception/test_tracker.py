"""The tracker: smooth at rest, prompt in motion, blind to single outliers."""

import numpy as np
import pytest

from moe_robot_control.perception.estimator import ObjectEstimate
from moe_robot_control.perception.tracker import Tracker


def seen(position: np.ndarray, name: str = "vial") -> list[ObjectEstimate]:
    return [ObjectEstimate(name, np.asarray(position, float), np.eye(3) * 1e-6, 0.9)]


def test_smooths_noise_at_rest() -> None:
    rng, tracker = np.random.default_rng(0), Tracker()
    raw = np.array([0.4, 0.1, 0.1]) + rng.normal(0, 0.001, (200, 3))
    out = [tracker.update(0.05 * t, seen(p))[0].position for t, p in enumerate(raw)]
    assert np.std(out[20:], axis=0).max() < 0.6 * np.std(raw[20:], axis=0).max()


def test_follows_fast_motion_within_a_frame() -> None:
    tracker, speed = Tracker(), 0.25
    for t in range(40):
        true = np.array([0.3 + speed * 0.05 * t, 0.0, 0.1])
        found = tracker.update(0.05 * t, seen(true))[0].position
        assert np.linalg.norm(found - true) <= speed * 0.05


def test_one_outlier_is_ignored_two_are_believed() -> None:
    tracker = Tracker()
    tracker.update(0.0, seen([0.4, 0, 0.1]))
    assert tracker.update(0.05, seen([0.6, 0, 0.1]))[0].position[0] == 0.4
    assert tracker.update(0.10, seen([0.6, 0, 0.1]))[0].position[0] == 0.6


def test_same_frame_twice_changes_nothing() -> None:
    tracker, again = Tracker(), Tracker()
    for t in range(5):
        position = [0.4 + 0.003 * t, 0, 0.1]
        first = tracker.update(0.05 * t, seen(position))
        assert tracker.update(0.05 * t, seen([9, 9, 9])) is first
        np.testing.assert_array_equal(
            again.update(0.05 * t, seen(position))[0].position, first[0].position
        )


def test_unseen_objects_are_not_answered() -> None:
    tracker = Tracker()
    tracker.update(0.0, seen([0.4, 0, 0.1]))
    assert tracker.update(0.05, []) == []


def test_time_must_not_go_back() -> None:
    tracker = Tracker()
    tracker.update(1.0, [])
    with pytest.raises(ValueError, match="time went back"):
        tracker.update(0.9, [])
