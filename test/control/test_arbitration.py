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


def test_the_operator_in_teleop() -> None:
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


def test_an_expert_of_small_weight_is_not_waited_for() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 0.54, "b": 0.36, "c": 0.1})
    answer(arbiter, T, "a", 0.1, 0.0)
    assert "'b'" in arbiter.decide(T).reason, "too much is missing"
    answer(arbiter, T, "b", 0.2, 0.05)
    decision = arbiter.decide(T)
    assert decision.without == ("c",) and decision.source == "policy"
    np.testing.assert_allclose(decision.action, [0.14, 0.14, 0.14, 0.02])


def test_missing_weights_add_up() -> None:
    arbiter = make(missing_share=0.25)
    arbiter.set_weights(T, {"a": 0.7, "b": 0.15, "c": 0.15})
    answer(arbiter, T, "a", 0.1, 0.0)
    assert arbiter.decide(T).action is None
    answer(arbiter, T, "c", 0.2, 0.0)
    assert arbiter.decide(T).without == ("b",)


def test_a_complete_answer_is_better_than_a_newer_one() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 0.95, "b": 0.05})
    answer(arbiter, T, "a", 0.1, 0.0)
    answer(arbiter, T, "b", 0.1, 0.0)
    arbiter.set_weights(T + 50 * MS, {"a": 0.95, "b": 0.05})
    answer(arbiter, T + 50 * MS, "a", 0.2, 0.0)
    assert arbiter.decide(T + 290 * MS).stamp == T
    late = arbiter.decide(T + 310 * MS)
    assert late.stamp == T + 50 * MS and late.without == ("b",)


def test_no_share_at_all_may_be_missing_where_it_is_zero() -> None:
    arbiter = make(missing_share=0.0)
    arbiter.set_weights(T, {"a": 0.99, "b": 0.01})
    answer(arbiter, T, "a", 0.1, 0.0)
    assert "'b'" in arbiter.decide(T).reason


OPERATOR = np.array([0.0, 0.1, 0.0])


def test_the_operator_wins_over_the_policy_while_he_holds_the_deadman() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.2, 0.0)
    assert arbiter.decide(T).source == "policy"
    arbiter.set_operator_twist(T, OPERATOR)
    arbiter.set_operator_gripper(0.08)
    decision = arbiter.decide(T + 199 * MS)
    assert decision.source == "operator"
    np.testing.assert_array_equal(decision.action, [*OPERATOR, 0.08])
    assert arbiter.decide(T + 201 * MS).source == "policy"
    # what he wanted of the gripper then is forgotten
    arbiter.set_operator_twist(T + 210 * MS, OPERATOR)
    assert arbiter.decide(T + 210 * MS, width=0.024).action[3] == 0.024


def test_the_opening_may_come_before_the_first_twist() -> None:
    arbiter = make()
    arbiter.set_operator_gripper(0.08)
    assert arbiter.decide(T).action is None
    arbiter.set_operator_twist(T, OPERATOR)
    assert arbiter.decide(T, width=0.024).action[3] == 0.08


def test_the_operator_wins_where_the_policy_has_nothing_to_say() -> None:
    arbiter = make()
    arbiter.set_operator_twist(T, OPERATOR)
    assert arbiter.decide(T).source == "operator"
    arbiter.set_weights(T, {"a": np.nan})
    assert arbiter.decide(T).source == "operator"


@pytest.mark.parametrize("mode", MODES)
def test_who_commands_in_each_mode_with_an_operator(mode: str) -> None:
    arbiter = make(mode=mode)
    arbiter.set_operator_twist(T, OPERATOR)
    expected = {"policy": "operator", "teleop": "operator", "idle": ""}
    assert arbiter.decide(T).source == expected[mode]


@pytest.mark.parametrize("mode", ["policy", "teleop"])
def test_two_operators_at_once_stop_the_arm(mode: str) -> None:
    arbiter = make(mode=mode)
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.2, 0.0)
    arbiter.set_operator_twist(T, OPERATOR, "gamepad")
    arbiter.set_operator_twist(T + 50 * MS, OPERATOR, "browser")
    assert arbiter.decide(T + 60 * MS).reason == "2 operators at once"
    # one lets go
    arbiter.set_operator_twist(T + 240 * MS, OPERATOR, "browser")
    assert arbiter.decide(T + 240 * MS).source == "operator"


def test_an_operators_late_messages_do_not_replace_newer_ones() -> None:
    arbiter = make(mode="teleop")
    arbiter.set_operator_twist(T, OPERATOR)
    arbiter.set_operator_twist(T - 50 * MS, -OPERATOR)
    np.testing.assert_array_equal(arbiter.decide(T).action[:3], OPERATOR)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_operator_whose_command_is_not_finite_stops_the_arm(value: float) -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.2, 0.0)
    arbiter.set_operator_twist(T, np.full(3, value))
    assert "operator command is not finite" in arbiter.decide(T).reason


def test_what_comes_from_the_future_is_not_used_and_does_not_stay() -> None:
    arbiter = make()
    arbiter.set_weights(T, {"a": 1.0})
    answer(arbiter, T, "a", 0.1, 0.0)
    ahead = T + 5000 * MS
    for k in range(20):  # more than are remembered
        arbiter.set_weights(ahead + k * MS, {"a": 1.0})
        answer(arbiter, ahead + k * MS, "a", 0.2, 0.0)
    assert "in the future" in arbiter.decide(T).reason
    arbiter.set_weights(T + 50 * MS, {"a": 1.0})
    answer(arbiter, T + 50 * MS, "a", 0.1, 0.0)
    decision = arbiter.decide(T + 50 * MS)
    assert decision.reason == "" and decision.stamp == T + 50 * MS
    assert arbiter.decide(T + 400 * MS).reason.startswith("gate weights are stale")


def test_recovers_after_the_clock_was_set_back() -> None:
    arbiter = make()
    for stamp in range(T, T + 500 * MS, 50 * MS):
        arbiter.set_weights(stamp, {"a": 1.0})
        answer(arbiter, stamp, "a", 0.1, 0.0)
        assert arbiter.decide(stamp).action is not None
    back = T - 3_600_000 * MS
    assert arbiter.decide(back).action is None
    arbiter.set_weights(back, {"a": 1.0})
    answer(arbiter, back, "a", 0.1, 0.0)
    assert arbiter.decide(back).stamp == back


def test_an_operator_from_the_future_is_not_obeyed_and_recovers() -> None:
    arbiter = make(mode="teleop")
    arbiter.set_operator_twist(T + 5000 * MS, OPERATOR)
    assert "in the future" in arbiter.decide(T).reason
    arbiter.set_operator_twist(T, OPERATOR)
    assert arbiter.decide(T).source == "operator"


def test_ages_tell_of_every_source() -> None:
    arbiter = make()
    assert arbiter.ages(T) == {}
    arbiter.set_weights(T, {"a": 1.0})
    arbiter.set_twist("a", T - 50 * MS, np.zeros(3))
    arbiter.set_operator_twist(T - 100 * MS, OPERATOR)
    expected = {"gate": 0.0, "a": 0.05, "operator": 0.1}
    assert arbiter.ages(T) == pytest.approx(expected)
