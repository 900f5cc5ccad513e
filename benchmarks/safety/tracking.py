"""Straight lines of the tip: what the commander makes of a steady wish, on drives that lag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.prediction import Prediction
from moe_robot_control.policies.spaces import CONTROL_PERIOD, MAX_SPEED
from moe_robot_control.world.simulation import BenchSimulation
from safety.hardware import Hardware, Imperfections

SPEED = 0.1
"""Along the lines [m/s]."""
MARGIN = 0.05
"""Lines end so far from the workspace's walls, before which the arm is slowed down [m]."""
SHORTEST = 0.15
"""Line [m]."""
LATENCY = 0.03
"""Of the commander's prediction, as the node's [s]."""
_GAIN = 3.0
"""With which the tip goes to where a line begins [1/s]."""
_ARRIVED = 0.003
_PATIENCE = 1000
"""Ticks to arrive in."""


@dataclass(frozen=True)
class Line:
    """How one line was driven.

    Attributes:
        length: [m].
        lateral: distances of the tip from the straight line, root of their mean square [m].
        turned: largest angle of the tip from the orientation that is held [rad].
        speed: along the line, from after the ramp to its end [m/s].
    """

    length: float
    lateral: float
    turned: float
    speed: float


class Rehearsed:
    """One arm without furniture, its drives and its commander; the clock is the simulation's."""

    def __init__(self, name: str, imperfections: Imperfections, seed: int) -> None:
        self.config = ArmConfig.load(name)
        self.sim = BenchSimulation(parts=(), arm=self.config)
        self.sim.place_arm(np.zeros(1, dtype=int), self.config.home[None], np.full(1, 0.04))
        self.sim.forward()
        self.hardware = Hardware(self.sim, imperfections, seed)
        self.commander = Commander(self.config)
        self._prediction = Prediction(LATENCY)
        self._now = 0.0
        self._positions, self._measured = self.config.home, 0.0

    def tick(self, velocity: np.ndarray) -> None:
        """One control period with a wished velocity of the tip [m/s]. Shape (3,)."""
        if not self.hardware.loses():
            self._positions, self._measured = self.hardware.measure()[0][:-1], self._now
        age = self._now - self._measured
        q = self._prediction.now(self._now, self._positions, age)
        wish = np.append(velocity, self.config.max_gripper_width)
        command = self.commander.step(q[None], wish[None])[0][0]
        self._prediction.commanded(self._now, command)
        self.hardware.command_velocities(self._now, command)
        self._now += CONTROL_PERIOD
        self.hardware.advance(self._now)

    @property
    def tip(self) -> np.ndarray:
        """[m]. Shape (3,)."""
        return self.sim.end_effector[0].copy()

    @property
    def turned(self) -> float:
        """Angle of the tip from the orientation that is held [rad]."""
        _, rotation = self.commander.kinematics.forward(self.sim.joint_positions[0])
        cosine = (np.trace(rotation @ self.config.rotation.T) - 1.0) / 2.0
        return float(np.arccos(np.clip(cosine, -1.0, 1.0)))

    def go_to(self, target: np.ndarray) -> bool:
        """Move the tip there; returns whether it arrived."""
        for _ in range(_PATIENCE):
            rest = target - self.tip
            if np.linalg.norm(rest) < _ARRIVED:
                return True
            self.tick(np.clip(_GAIN * rest, -MAX_SPEED, MAX_SPEED))
        return False

    def line(self, target: np.ndarray) -> Line:
        """Wish for the velocity towards `target` for as long as the way takes."""
        begin = self.tip
        length = float(np.linalg.norm(target - begin))
        direction = (target - begin) / length
        along, lateral, turned = [], [], []
        for _ in range(round(length / SPEED / CONTROL_PERIOD)):
            self.tick(SPEED * direction)
            offset = self.tip - begin
            along.append(float(offset @ direction))
            lateral.append(np.linalg.norm(offset - along[-1] * direction))
            turned.append(self.turned)
        ramp = len(along) // 4
        speed = (along[-1] - along[ramp]) / (CONTROL_PERIOD * (len(along) - 1 - ramp))
        return Line(length, float(np.sqrt(np.mean(np.square(lateral)))), max(turned), speed)


def drive_lines(
    name: str, count: int, imperfections: Imperfections | None = None, seed: int = 0
) -> list[Line]:
    """Drive `count` lines between points drawn in an arm's workspace.

    Points at which the arm does not arrive are drawn anew: not all of the workspace can be
    reached with the tip's orientation held.
    """
    arm = Rehearsed(name, Imperfections() if imperfections is None else imperfections, seed)
    config, rng = arm.config, np.random.default_rng(seed)
    lower, upper = config.workspace_lower + MARGIN, config.workspace_upper - MARGIN
    lines: list[Line] = []
    while len(lines) < count:
        begin, end = rng.uniform(lower, upper, (2, 3))
        if np.linalg.norm(end - begin) < SHORTEST or not (arm.go_to(end) and arm.go_to(begin)):
            continue
        for _ in range(30):
            arm.tick(np.zeros(3))
        lines.append(arm.line(end))
    return lines
