"""Scenes from messages in any order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from moe_robot_control.policies.spaces import OBJECTS
from moe_robot_control.policies.synchronizer import SceneSynchronizer

T = 10_000_000_000
TICK = 10_000_000
VIAL, TRAY = OBJECTS.index("vial"), OBJECTS.index("tray")


def make(objects: tuple[str, ...] = ("vial", "tray"), **options: float) -> SceneSynchronizer:
    return SceneSynchronizer(lambda joints: joints[:3], objects, **options)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_completes_with_the_last_message_in_any_order(order: tuple[int, ...]) -> None:
    sync = make()
    feed = [
        lambda: sync.add_joint_state(T, np.array([1.0, 2.0, 3.0]), 0.04),
        lambda: sync.add_visible(T, ["vial", "tray", "bin"]),
        lambda: sync.add_position(T, "vial", np.array([0.1, 0.2, 0.3])),
        lambda: sync.add_position(T, "tray", np.array([0.4, 0.5, 0.6])),
    ]
    results = [feed[i]() for i in order]
    assert all(result is None for result in results[:-1])
    stamp, scene = results[-1]
    assert stamp == T
    np.testing.assert_array_equal(scene.end_effector, [1.0, 2.0, 3.0])
    assert float(scene.gripper_width) == 0.04
    np.testing.assert_array_equal(scene.positions[VIAL], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(np.flatnonzero(scene.known), sorted([VIAL, TRAY]))


def test_hidden_objects_are_remembered() -> None:
    sync = make()
    sync.add_joint_state(T, np.zeros(3), 0.0)
    sync.add_visible(T, ["vial"])
    assert sync.add_position(T, "vial", np.ones(3)) is not None
    sync.add_joint_state(T + TICK, np.zeros(3), 0.0)
    _, scene = sync.add_visible(T + TICK, [])
    assert scene.known[VIAL]
    np.testing.assert_array_equal(scene.positions[VIAL], np.ones(3))


def test_repeated_messages_yield_the_same_scene_again() -> None:
    sync = make(("vial",))
    sync.add_joint_state(T, np.zeros(3), 0.0)
    sync.add_visible(T, ["vial"])
    first = sync.add_position(T, "vial", np.ones(3))
    sync.add_joint_state(T, np.zeros(3), 0.0)
    sync.add_visible(T, ["vial"])
    again = sync.add_position(T, "vial", np.ones(3))
    assert first is not None and again is not None
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1].positions, again[1].positions)


def test_waits_for_a_joint_state_that_is_new_enough() -> None:
    sync = make(())
    sync.add_joint_state(T - TICK, np.zeros(3), 0.0)
    assert sync.add_visible(T, []) is None
    stamp, scene = sync.add_joint_state(T, np.array([7.0, 0.0, 0.0]), 0.0)
    assert stamp == T and scene.end_effector[0] == 7.0


def test_takes_the_nearest_joint_state_within_the_skew() -> None:
    sync = make((), max_skew=0.006)
    sync.add_joint_state(T - 4_000_000, np.array([1.0, 0.0, 0.0]), 0.0)
    sync.add_joint_state(T + 6_000_000, np.array([2.0, 0.0, 0.0]), 0.0)
    _, scene = sync.add_visible(T, [])
    assert scene.end_effector[0] == 1.0
    far = make((), max_skew=0.002)
    far.add_joint_state(T + 6_000_000, np.zeros(3), 0.0)
    assert far.add_visible(T, []) is None


def test_a_frame_with_a_lost_pose_is_superseded() -> None:
    sync = make(("vial",))
    sync.add_joint_state(T, np.zeros(3), 0.0)
    assert sync.add_visible(T, ["vial"]) is None
    sync.add_joint_state(T + TICK, np.zeros(3), 0.0)
    sync.add_visible(T + TICK, ["vial"])
    stamp, _ = sync.add_position(T + TICK, "vial", np.ones(3))
    assert stamp == T + TICK
    assert sync.add_position(T, "vial", np.zeros(3)) is None


def test_time_set_back_forgets_everything() -> None:
    sync = make(("vial",))
    late = T + 100 * TICK
    sync.add_joint_state(late, np.zeros(3), 0.0)
    sync.add_visible(late, ["vial"])
    sync.add_position(late, "vial", np.ones(3))
    sync.add_joint_state(T, np.zeros(3), 0.0)
    _, scene = sync.add_visible(T, [])
    assert not scene.known.any()


def test_leftovers_from_before_time_was_set_back_are_dropped() -> None:
    sync = make(())
    sync.add_joint_state(T, np.zeros(3), 0.0)
    assert sync.add_visible(T + 100 * TICK, []) is None
    assert sync.add_joint_state(T + 100 * TICK, np.zeros(3), 0.0) is None


def test_rejects_an_unknown_object() -> None:
    with pytest.raises(ValueError, match="teapot"):
        make(("teapot",))
