"""The same motion in the words of other drivers."""

from __future__ import annotations

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.control.outputs import HORIZON, TrajectoryPoint, tip_twist

ARM = ArmConfig.load("panda")


def test_twist_is_the_motion_of_the_tip() -> None:
    kinematics = Kinematics(ARM.kinematics, ARM.joint_names, ARM.tip_site)
    velocity = np.random.default_rng(0).uniform(-0.5, 0.5, 7)
    twist = tip_twist(kinematics, ARM.home, velocity)
    h = 1e-6
    before, turned = kinematics.forward(ARM.home)
    after, turning = kinematics.forward(ARM.home + h * velocity)
    np.testing.assert_allclose(twist[:3], (after - before) / h, atol=1e-5)
    change = (turning - turned) / h @ turned.T
    np.testing.assert_allclose(twist[3:], [change[2, 1], change[0, 2], change[1, 0]], atol=1e-5)


def test_the_point_lies_ahead_and_within_the_limits() -> None:
    point = TrajectoryPoint(ARM)
    velocity = np.full(7, 0.2)
    np.testing.assert_allclose(point.after(ARM.home, velocity), ARM.home + HORIZON * velocity)
    at_limit = ARM.joint_upper - 0.001
    np.testing.assert_array_equal(point.after(at_limit, velocity), ARM.joint_upper)


def test_an_arm_at_rest_is_held_where_it_came_to_rest() -> None:
    point, still = TrajectoryPoint(ARM), np.zeros(7)
    held = point.after(ARM.home, still)
    sagged = ARM.home - 0.01
    np.testing.assert_array_equal(point.after(sagged, still), held)
    point.after(sagged, np.full(7, 0.1))
    np.testing.assert_array_equal(point.after(sagged, still), sagged)
