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
    for speed in (3.0, 2.0, 1.0):
        prediction.commanded(np.full(7, speed))
    np.testing.assert_allclose(prediction.now(ARM.home, 0.0), ARM.home + 0.01 * 3.0)
    np.testing.assert_allclose(prediction.now(ARM.home, 0.005), ARM.home + 0.01 * 4.5)
    np.testing.assert_allclose(prediction.now(ARM.home, 9.0), ARM.home + 0.01 * 6.0)
    prediction.reset()
    assert prediction.now(ARM.home, 9.0) is ARM.home


def test_without_latency_and_age_measurements_stay_as_they_are() -> None:
    prediction = Prediction()
    prediction.commanded(np.ones(7))
    assert prediction.now(ARM.home, 0.0) is ARM.home


def lowest(latency: float) -> float:
    """Lowest clearance from the workspace's walls of an arm that is 60 ms late [m]."""
    commander, prediction = Commander(ARM), Prediction(latency)
    q = ARM.home.copy()
    under_way = collections.deque([np.zeros(7)] * 6)
    least = np.inf
    for direction in ((0.0, 0.0, -0.25), (0.0, 0.25, 0.0), (0.25, 0.0, 0.0)):
        for _ in range(200):
            action = np.array([[*direction, 0.0]])
            velocity, _ = commander.step(prediction.now(q, 0.0)[None], action)
            prediction.commanded(velocity[0])
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
