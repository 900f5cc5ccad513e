"""Which action moves the arm, and why none does."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.control.arbitration import MODES, Arbiter

MS = 1_000_000
T = 10_000 * MS


def make(**options: object) -> Arbiter:
    return Arbiter(("a", "b", "c"), max_age=0.3, **options)


def answer(arbiter: Arbiter, stamp: int, expert: str, velocity: float, width: float) -> None:
    arbiter.set_twist(expert, stamp, np.full(3, velocity))
    arbiter.set_gripper(expert, stamp, width)


def test_mixes_by_weight() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 0.25, "b": 0.75, "c": 0.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    answer(arbiter, T, "b", 0.2, 0.08)
    decision = arbiter.decide(T + 10 * MS)
    assert decision.reason == "" and decision.stamp == T
    np.testing.assert_allclose(decision.action, [0.175, 0.175, 0.175, 0.06])


def test_sleeping_experts_are_not_waited_for() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    assert arbiter.missing(T) == ["a"]
    arbiter.set_twist("a", T, np.zeros(3))
    assert arbiter.missing(T) == ["a"]
    arbiter.set_gripper("a", T, 0.0)
    assert arbiter.missing(T) == []


def test_never_mixes_across_stamps() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    arbiter.set_weights(T + 50 * MS, {"b": 1.0})
    answer(arbiter, T, "b", 0.2, 0.0)
    decision = arbiter.decide(T + 60 * MS)
    assert decision.stamp == T
    np.testing.assert_allclose(decision.action[:3], 0.1)


def test_names_the_expert_that_is_missing() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"b": 1.0})
    assert "'b'" in arbiter.decide(T).reason


@pytest.mark.parametrize(("age", "moves"), [(299, True), (301, False)])
def test_old_actions_do_not_move_the_arm(age: int, moves: bool) -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    decision = arbiter.decide(T + age * MS)
    assert (decision.action is not None) is moves
    assert ("stale" in decision.reason) is not moves


def test_stands_still_before_anything_came() -> None:
    assert make().decide(T).reason == "no gate weights yet"


@pytest.mark.parametrize(
    "weights", [{"a": np.nan}, {"a": -0.5, "b": 1.5}, {"a": 0.5}, {"teapot": 1.0}]
)
def test_bad_weights_stop_the_arm(weights: dict[str, float]) -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    arbiter.set_weights(T + 50 * MS, weights)
    decision = arbiter.decide(T + 50 * MS)
    assert decision.action is None and "gate" in decision.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_stops_the_arm(value: float) -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", value, 0.0)
    decision = arbiter.decide(T)
    assert decision.action is None and "'a'" in decision.reason


def test_the_emergency_stop_outlasts_changes_of_mode() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    arbiter.stopped = True
    for mode in MODES:
        arbiter.mode = mode
        assert arbiter.decide(T).reason == "emergency stop"
    arbiter.mode = "policy"
    arbiter.stopped = False
    assert arbiter.decide(T).action is not None


def test_idle_stands_still() -> None:
    assert make(mode="idle").decide(T).reason == "idle"


def test_the_operator_moves_the_arm_in_teleop_only() -> None:
    arbiter = make(mode="teleop")
    assert arbiter.decide(T).reason == "no operator command yet"
    arbiter.set_operator_twist(T, np.array([0.1, 0.0, 0.0]))
    np.testing.assert_allclose(arbiter.decide(T, width=0.03).action, [0.1, 0.0, 0.0, 0.03])
    arbiter.set_operator_gripper(0.08)
    assert arbiter.decide(T).action[3] == 0.08
    assert "stale" in arbiter.decide(T + 400 * MS).reason
    arbiter.mode = "policy"
    assert arbiter.decide(T).action is None
    arbiter.mode = "teleop"
    assert arbiter.decide(T).reason == "no operator command yet"


def test_rejects_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="waltz"):
        make(mode="waltz")


def test_reset_forgets_actions_but_not_the_emergency_stop() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    arbiter.stopped = True
    arbiter.reset()
    assert arbiter.stopped
    arbiter.stopped = False
    assert arbiter.decide(T).reason == "no gate weights yet"
