"""The arm's own word on whether its limits were kept: by what reached it, and how it moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

import mujoco
import numpy as np

from moe_robot_control.policies.spaces import CONTROL_PERIOD
from moe_robot_control.world.simulation import BenchSimulation

ROUNDING = 1e-6
"""Relative excess of a command that is none."""
MEASURED_EXCESS = 1.05
"""A joint may be so much faster than its limit while the physics settles."""
MEASURED_AGO = 4
"""Periods of change between an arm's velocity as last measured, which may have been lost once, and
its present one; together with the one that a command may add."""
OUTSIDE = 0.002
"""The tip may be so far outside of the workspace: drives that lag cannot stop at a wall [m]."""


@dataclass
class Extremes:
    """The worst that has been seen.

    Attributes:
        command_velocity: largest commanded joint velocity, as a share of the joint's limit.
        command_acceleration: largest change from one command to the next, as a share of what
            the joint's acceleration limit allows in the time between them.
        command_jerk: the same for the change of that change and the jerk limit.
        velocity: largest joint velocity of the arm, as a share of the joint's limit.
        joint_margin: smallest distance of a joint from its limits [rad].
        outside: farthest that the tip was outside of the workspace [m].
        tip_speed: largest speed of the tip [m/s].
        depth: deepest that the arm was in the table, or in itself [m].
    """

    command_velocity: float = 0.0
    command_acceleration: float = 0.0
    command_jerk: float = 0.0
    velocity: float = 0.0
    joint_margin: float = float("inf")
    outside: float = 0.0
    tip_speed: float = 0.0
    depth: float = 0.0


class Judge:
    """Watches commands and motion of simulation 0.

    Attributes:
        extremes: since the last `clear`.
        violations: how often each limit was broken since then.
        commands: commands that were obeyed, ever.
    """

    def __init__(self, sim: BenchSimulation) -> None:
        self._sim, self._arm = sim, sim.arm
        self._data = mujoco.MjData(sim.model)
        self._arm_bodies, self._table = _arm_bodies(sim.model), sim.model.geom("table").id
        self.commands = 0
        self.new_scene()
        self.new_motion()
        self.clear()

    def clear(self) -> None:
        """Forget what has been seen."""
        self.extremes = Extremes()
        self.violations: Counter[str] = Counter()

    def new_scene(self) -> None:
        """The furniture stands elsewhere."""
        self._model = self._sim.model_of(0)
        self._last_tip = self._sim.end_effector[0]
        self._last_time = float(self._sim.time[0])

    def new_motion(self) -> None:
        """The arm is at rest: the next command is not compared with the last."""
        self._last: tuple[float, np.ndarray] | None = None
        self._last_change: np.ndarray | None = None

    def report(self) -> dict[str, object]:
        """Extremes and violations, for JSON."""
        return {"extremes": asdict(self.extremes), "violations": dict(self.violations)}

    def _count(self, limit: str, broken: bool) -> None:
        if broken:
            self.violations[limit] += 1

    def velocities(self, now: float, values: np.ndarray, timeout: float = 0.1) -> bool:
        """Judge a command [rad/s] sent at `now` [s]; returns whether it can be obeyed.

        After `timeout` [s] without commands the arm brakes by itself.
        """
        arm, extremes = self._arm, self.extremes
        if values.shape != arm.joint_velocity.shape or not np.isfinite(values).all():
            self.violations["malformed command"] += 1
            return False
        self.commands += 1
        share = float(np.max(np.abs(values) / arm.joint_velocity))
        extremes.command_velocity = max(extremes.command_velocity, share)
        self._count("commanded velocity", share > 1 + ROUNDING)
        self._judge_change(now, values, timeout)
        self._last = now, np.array(values)
        return True

    def _judge_change(self, now: float, values: np.ndarray, timeout: float) -> None:
        arm, extremes = self._arm, self.extremes
        before, last = self._last or (now - CONTROL_PERIOD, np.zeros_like(values))
        change = values - last
        # a missing command lets the next one differ by twice as much; one that is early does not
        periods = max(round((now - before) / CONTROL_PERIOD), 1)
        per_period = arm.joint_acceleration * CONTROL_PERIOD
        shares = np.abs(change) / (per_period * periods)
        if periods > 1:
            # a commander that comes back may also go on from how the arm was measured to move
            moved = np.abs(values - self._sim.joint_velocities[0]) / (per_period * MEASURED_AGO)
            shares = moved if now - before > timeout else np.minimum(shares, moved)
        extremes.command_acceleration = max(extremes.command_acceleration, float(shares.max()))
        self._count("commanded acceleration", bool(shares.max() > 1 + ROUNDING))
        if periods == 1 and self._last_change is not None:
            shares = np.abs(change - self._last_change) / (arm.joint_jerk * CONTROL_PERIOD**2)
            extremes.command_jerk = max(extremes.command_jerk, float(shares.max()))
            self._count("commanded jerk", bool(shares.max() > 1 + ROUNDING))
        self._last_change = change if periods == 1 else None

    def gripper(self, values: np.ndarray) -> bool:
        """Judge a commanded opening [m]; returns whether it can be obeyed."""
        if values.shape != (1,) or not np.isfinite(values).all():
            self.violations["malformed command"] += 1
            return False
        outside = not -ROUNDING <= values[0] <= self._arm.max_gripper_width + ROUNDING
        self._count("commanded opening", outside)
        return True

    def motion(self) -> None:
        """Judge where the arm is now, and how it moves."""
        arm, sim, extremes = self._arm, self._sim, self.extremes
        q = sim.joint_positions[0]
        share = float(np.max(np.abs(sim.joint_velocities[0]) / arm.joint_velocity))
        extremes.velocity = max(extremes.velocity, share)
        self._count("velocity", share > MEASURED_EXCESS)
        margin = float(np.min(np.minimum(q - arm.joint_lower, arm.joint_upper - q)))
        extremes.joint_margin = min(extremes.joint_margin, margin)
        self._count("position", margin < 0)
        self._judge_tip()
        self._judge_contacts()

    def _judge_tip(self) -> None:
        arm, extremes = self._arm, self.extremes
        tip, time = self._sim.end_effector[0], float(self._sim.time[0])
        beyond = np.maximum(arm.workspace_lower - tip, tip - arm.workspace_upper)
        outside = max(float(beyond.max()), 0.0)
        extremes.outside = max(extremes.outside, outside)
        self._count("workspace", outside > OUTSIDE)
        for box in arm.keep_out.values():
            inside = np.minimum(tip - box.lower, box.upper - tip).min()
            self._count("keep-out box", inside > OUTSIDE)
        if time > self._last_time:
            speed = float(np.linalg.norm(tip - self._last_tip)) / (time - self._last_time)
            extremes.tip_speed = max(extremes.tip_speed, speed)
        self._last_tip, self._last_time = tip, time

    def _judge_contacts(self) -> None:
        data, model = self._data, self._model
        self._sim.batch.get_data(0, data)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        if not data.ncon:
            return
        of_arm = self._arm_bodies[model.geom_bodyid[data.contact.geom]]
        with_table = (of_arm.any(axis=1)) & (data.contact.geom == self._table).any(axis=1)
        for name, which in (("table contact", with_table), ("self contact", of_arm.all(axis=1))):
            deepest = float(-data.contact.dist[which].min(initial=0.0))
            self.extremes.depth = max(self.extremes.depth, deepest)
            self._count(name, deepest > 0)


def _arm_bodies(model: mujoco.MjModel) -> np.ndarray:
    """Which bodies are the arm's. Shape (bodies,), bool."""
    return np.array([model.body(i).name.startswith("arm/") for i in range(model.nbody)])
