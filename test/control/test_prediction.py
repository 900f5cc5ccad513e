"""An arm whose measurements and drives are late."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.prediction import Prediction
from moe_robot_control.policies.spaces import CONTROL_PERIOD

ARM = ArmConfig.load("panda")


def test_adds_what_was_commanded_since() -> None:
    prediction = Prediction(latency=0.02)
    for tick, speed in enumerate((1.0, 2.0, 3.0)):
        prediction.commanded(5.0 + 0.01 * tick, np.full(7, speed))
    for age, moved in ((0.0, 5.0), (0.005, 5.5), (9.0, 6.0)):
        predicted = prediction.now(5.03, ARM.home, age)
        np.testing.assert_allclose(predicted, ARM.home + 0.01 * moved)
    # the next tick is late: meanwhile the arm goes on
    late = prediction.now(5.07, ARM.home, 0.04)
    np.testing.assert_allclose(late, ARM.home + 0.01 * (2.0 + 5 * 3.0))
    prediction.reset()
    assert prediction.now(5.03, ARM.home, 9.0) is ARM.home


def test_without_latency_and_age_measurements_stay_as_they_are() -> None:
    prediction = Prediction()
    prediction.commanded(5.0, np.ones(7))
    assert prediction.now(5.01, ARM.home, 0.0) is ARM.home


def test_a_clock_set_back_does_no_harm() -> None:
    prediction = Prediction(latency=0.03)
    prediction.commanded(5000.0, np.ones(7))
    prediction.commanded(5.0, np.ones(7))
    predicted = prediction.now(5.01, ARM.home, 0.0)
    assert (np.abs(predicted - ARM.home) < 0.05).all()


def lowest(latency: float) -> float:
    """Lowest clearance from the workspace's walls of an arm that is 60 ms late [m]."""
    commander, prediction = Commander(ARM), Prediction(latency)
    q = ARM.home.copy()
    under_way = collections.deque([np.zeros(7)] * 6)
    least, time = np.inf, 0.0
    for direction in ((0.0, 0.0, -0.25), (0.0, 0.25, 0.0), (0.25, 0.0, 0.0)):
        for _ in range(200):
            time += CONTROL_PERIOD
            action = np.array([[*direction, 0.0]])
            velocity, _ = commander.step(prediction.now(time, q, 0.0)[None], action)
            prediction.commanded(time, velocity[0])
            under_way.append(velocity[0])
            q = q + CONTROL_PERIOD * under_way.popleft()
            tip = commander.kinematics.forward(q)[0]
            room = np.minimum(tip - ARM.workspace_lower, ARM.workspace_upper - tip)
            least = min(least, float(room.min()))
    return least


def test_a_late_arm_stays_in_the_workspace() -> None:
    assert lowest(latency=0.06) >= 0.0


@pytest.mark.parametrize("latency", [0.03, 0.08])
def test_the_latency_need_not_be_known_well(latency: float) -> None:
    assert lowest(latency) >= -0.001
