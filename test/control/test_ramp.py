"""Velocity, acceleration and jerk, and the time to rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.ramp import STOP_TIME, Motion, Ramp
from moe_robot_control.policies.spaces import CONTROL_PERIOD

from .arms import VARIANTS

ARMS = pytest.mark.parametrize("arm", VARIANTS.values(), ids=VARIANTS)
TICKS = round(STOP_TIME / CONTROL_PERIOD)


@ARMS
@settings(derandomize=True, max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), hold=st.integers(1, 20))
def test_any_wishes_keep_the_limits_and_rest_is_near(arm: ArmConfig, seed: int, hold: int) -> None:
    ramp, rng = Ramp(arm), np.random.default_rng(seed)
    motion = ramp.still(1)
    wanted = np.zeros_like(motion.velocity)
    for tick in range(60):
        if tick % hold == 0:
            wanted = rng.choice([-1.0, 1.0, 0.3, 0.0], wanted.shape) * ramp.max_velocity
        last, motion = motion, ramp.follow(motion, ramp.approach(motion, wanted))
        check_step(arm, last, motion)
        braking = motion
        for _ in range(TICKS):
            before, braking = braking, ramp.brake(braking)
            check_step(arm, before, braking)
        np.testing.assert_array_equal(braking.velocity, 0.0)


def check_step(arm: ArmConfig, last: Motion, motion: Motion) -> None:
    change = motion.velocity - last.velocity
    assert (np.abs(motion.velocity) <= arm.joint_velocity + 1e-9).all()
    assert (np.abs(change) <= arm.joint_acceleration * CONTROL_PERIOD + 1e-9).all()
    jerk = np.abs(change - last.change) / CONTROL_PERIOD**2
    assert (jerk <= arm.joint_jerk * (1 + 1e-9) + 1e-6).all()


def test_the_panda_never_feels_its_jerk_limit() -> None:
    arm = ArmConfig.load("panda")
    assert not Ramp(arm).eased
    turn_about = 2.0 * arm.joint_acceleration / CONTROL_PERIOD
    assert (turn_about < arm.joint_jerk).all()


def test_acceleration_that_must_be_eased_off_arrives_exactly_and_stays() -> None:
    arm = ArmConfig.load("panda")
    ramp = Ramp(replace(arm, joint_jerk=arm.joint_acceleration / 0.045))
    assert ramp.eased
    motion, wanted = ramp.still(1), 0.4 * ramp.max_velocity[None]
    velocities = []
    for _ in range(60):
        motion = ramp.follow(motion, ramp.approach(motion, wanted))
        velocities.append(motion.velocity[0])
    velocities = np.array(velocities)
    np.testing.assert_allclose(velocities[-20:], np.tile(wanted, (20, 1)), atol=1e-12)
    assert (velocities <= wanted + 1e-12).all(), "passed beyond what was wanted"
    assert (np.diff(velocities, axis=0) >= -1e-12).all(), "turned back on the way"


@ARMS
def test_the_way_to_rest_is_what_braking_does(arm: ArmConfig) -> None:
    ramp = Ramp(arm)
    motion = ramp.still(1)
    for _ in range(7):
        motion = ramp.follow(motion, ramp.approach(motion, ramp.max_velocity[None]))
    way = ramp.way_to_rest(motion)
    assert len(way) <= TICKS
    for velocity in way:
        motion = ramp.brake(motion)
        np.testing.assert_allclose(motion.velocity[0], velocity, atol=1e-12)
    assert not motion.velocity.any()
