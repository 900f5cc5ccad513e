"""Whatever comes in, no limit is broken by an arm that follows its commands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_robot_control.control.arbitration import MODES, Arbiter
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.clearances import Clearances
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.policies.spaces import CONTROL_PERIOD

from .arms import VARIANTS

ARMS = pytest.mark.parametrize("arm", VARIANTS.values(), ids=VARIANTS)

ANY = st.one_of(
    st.floats(-0.3, 0.3),
    st.sampled_from([0.25, -0.25, 0.0]),
    st.floats(allow_nan=True, allow_infinity=True),
)
ACTIONS = st.lists(
    st.tuples(st.tuples(ANY, ANY, ANY, ANY), st.integers(1, 60), st.booleans()),
    min_size=1,
    max_size=8,
)
"""Actions, each held for some ticks, after which the arm may be stopped for some."""


class Rig:
    """An arm that does exactly as commanded, and checks every command."""

    def __init__(self, arm: ArmConfig) -> None:
        self.arm = arm
        self.commander = Commander(arm)
        self.q = arm.home.copy()
        self.velocity = np.zeros_like(self.q)
        self.change = np.zeros_like(self.q)
        self.clearances = Clearances(arm, self.commander.kinematics)

    def tick(self, action: tuple[float, ...] | None, q: np.ndarray | None = None) -> None:
        """Step (or stop, without an action) with measured positions `q`, the true ones if None."""
        if action is None:
            velocity = self.commander.stop()
        else:
            measured = self.q if q is None else q
            velocity, width = self.commander.step(measured[None], np.array([action]))
            low, high = self.arm.min_gripper_width, self.arm.max_gripper_width
            assert low <= width[0] <= high
        self.check_motion(velocity[0])
        self.q = self.q + CONTROL_PERIOD * self.velocity

    def check_motion(self, velocity: np.ndarray) -> None:
        arm = self.arm
        change = velocity - self.velocity
        assert np.isfinite(velocity).all()
        assert (np.abs(velocity) <= arm.joint_velocity + 1e-9).all()
        assert (np.abs(change) <= arm.joint_acceleration * CONTROL_PERIOD + 1e-9).all()
        jerk = np.abs(change - self.change) / CONTROL_PERIOD**2
        assert (jerk <= arm.joint_jerk * (1 + 1e-9)).all()
        self.velocity, self.change = velocity, change

    def check_position(self) -> None:
        frames = self.commander.kinematics.frames(self.q[None])
        clearances = self.clearances.of(self.q[None], frames)[0]
        worst = int(np.argmin(clearances))
        assert clearances[worst] >= -1e-9, self.clearances.names[worst]


@ARMS
@settings(derandomize=True, max_examples=8, deadline=None)
@given(actions=ACTIONS)
def test_any_actions(arm: ArmConfig, actions: list) -> None:
    rig = Rig(arm)
    for action, ticks, stopped in actions:
        for tick in range(ticks):
            rig.tick(None if stopped and tick >= ticks // 2 else action)
            rig.check_position()


@ARMS
@settings(derandomize=True, max_examples=5, deadline=None)
@given(actions=ACTIONS, seed=st.integers(0, 2**32 - 1))
def test_any_actions_and_any_measured_positions(arm: ArmConfig, actions: list, seed: int) -> None:
    rig, rng = Rig(arm), np.random.default_rng(seed)
    for action, ticks, stopped in actions:
        for _ in range(min(ticks, 25)):
            q = rng.uniform(1.5 * arm.joint_lower, 1.5 * arm.joint_upper)
            if rng.random() < 0.3:
                q[rng.integers(len(q))] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
            rig.tick(None if stopped else action, rig.q if rng.random() < 0.5 else q)


@ARMS
def test_pushing_on_and_on(arm: ArmConfig) -> None:
    """Long pushes into every corner: into walls, boxes, table, base and singularities."""
    rig, rng = Rig(arm), np.random.default_rng(0)
    for _ in range(7):
        action = (*rng.choice([-0.25, 0.0, 0.25], 3), rng.choice([0.0, 0.08]))
        for _ in range(100):
            rig.tick(action)
            rig.check_position()


def test_an_arm_that_was_pushed_beyond_a_limit_finds_back() -> None:
    arm = ArmConfig.load("panda")
    rig = Rig(arm)

    kinematics = rig.commander.kinematics
    above = np.array([[0.45, 0.1, arm.workspace_upper[2] + 0.04]])
    rig.q = solve_position(kinematics, above, arm.rotation, arm.home)[0]
    start = kinematics.frames(rig.q[None]).tip[0, 2]
    outward, inward = (0.0, 0.0, 0.2, 0.08), (0.0, 0.0, -0.2, 0.08)
    for _ in range(30):
        rig.tick(outward)
        assert kinematics.frames(rig.q[None]).tip[0, 2] <= start + 1e-9
    for _ in range(400):
        rig.tick(inward)
    rig.check_position()


def test_changes_of_mode_are_ramped() -> None:
    """Policy, operator, teleop, idle and emergency stop take over from each other at full speed."""
    arm = ArmConfig.load("panda")
    rig, arbiter, rng = Rig(arm), Arbiter(("a",)), np.random.default_rng(0)
    sources = set()
    for tick in range(1500):
        now = (1000 + tick) * 10_000_000
        arbiter.set_weights(now, {"a": 1.0})
        arbiter.set_twist("a", now, np.array([0.0, 0.25, 0.0]) * (1 if tick // 50 % 2 else -1))
        arbiter.set_gripper("a", now, 0.08)
        if tick % 7 == 0:
            what = rng.integers(5)
            if what < 3:
                arbiter.mode = MODES[what]
            elif what == 3:
                arbiter.stopped = not arbiter.stopped
        if tick // 100 % 2:
            arbiter.set_operator_twist(now, np.array([0.2, -0.2, 0.1]))
        decision = arbiter.decide(now, 0.08)
        sources.add(decision.source or decision.reason.split(":")[0])
        rig.tick(None if decision.action is None else tuple(decision.action))
        rig.check_position()
    assert {"policy", "operator", "idle", "emergency stop"} <= sources
