"""What lies between a velocity command and the arm's motion: wires, a watchdog and slow drives.

Knows nothing of ROS. Times are seconds of one steady clock; arrays are in the order of the
arm's joints [rad], [rad/s].
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.world.simulation import BenchSimulation
from safety.judge import Judge

LONGEST_CATCH_UP = 1.0
"""Time that the physics goes after the clock at once [s]; more is skipped."""


@dataclass(frozen=True)
class Imperfections:
    """How far the arm is from an ideal one.

    Attributes:
        lag: time constant of the drives, first order [s].
        latency: of every command on its way to the drives [s].
        jitter: largest further delay of a command, drawn evenly from zero on [s].
        loss: share of the packets that are lost, each way.
        timeout: without a command for so long the arm brakes by itself [s].
        encoder_noise: standard deviation of a measured joint position [rad].
        velocity_noise: of a measured joint velocity [rad/s].
        width_noise: of the measured opening of the gripper [m].
    """

    lag: float = 0.02
    latency: float = 0.002
    jitter: float = 0.003
    loss: float = 0.01
    timeout: float = 0.1
    encoder_noise: float = 2e-4
    velocity_noise: float = 2e-3
    width_noise: float = 2e-4


PERFECT = Imperfections(0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0)


class Wire:
    """Delays packets, loses some, and keeps their order.

    The fate of the k-th packet depends on the seed and k alone, not on its time.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._queue: deque[tuple[float, np.ndarray]] = deque()
        self.sent = self.lost = 0

    def send(self, now: float, packet: np.ndarray, imperfections: Imperfections) -> None:
        """Put a packet on the wire at `now`."""
        fate, delay = self._rng.random(2).tolist()
        self.sent += 1
        if fate < imperfections.loss:
            self.lost += 1
            return
        due = now + imperfections.latency + imperfections.jitter * delay
        if self._queue:
            due = max(due, self._queue[-1][0])
        self._queue.append((due, packet))

    def receive(self, now: float) -> tuple[float, np.ndarray] | None:
        """When the newest packet that has come until `now` came, and the packet."""
        newest = None
        while self._queue and self._queue[0][0] <= now:
            newest = self._queue.popleft()
        return newest


class Hardware:
    """The simulated arm behind its drives.

    The drives follow a commanded velocity with a lag. Where no command has come for `timeout`
    they brake at the joints' acceleration limits, until the next one comes.

    Attributes:
        imperfections: may be replaced at any time.
        judge: what of the arm's limits was kept.
    """

    def __init__(
        self, sim: BenchSimulation, imperfections: Imperfections | None = None, seed: int = 0
    ) -> None:
        """Drive simulation 0 of `sim`; equal seeds lose and delay the same packets."""
        self.sim = sim
        self.arm: ArmConfig = sim.arm
        self.imperfections = Imperfections() if imperfections is None else imperfections
        self.judge = Judge(sim)
        # the drives, and with them the physics, run at the simulation's own rate
        sim.substeps = 1
        self.period = float(sim.model.opt.timestep)
        streams = np.random.default_rng(seed).spawn(4)
        self._velocity_wire, self._gripper_wire = Wire(streams[0]), Wire(streams[1])
        self._noise, self._losses = streams[2], streams[3]
        self._size = len(self.arm.joint_names)
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Stand still at `now`, where somebody has put the arm; commands under way count on."""
        self._time = now
        self._heard = -math.inf
        self._target = np.zeros(self._size)
        self._velocity = np.zeros(self._size)
        self._width = float(self.sim.gripper_width[0])
        self.skipped = 0.0
        self.judge.new_motion()

    @property
    def braking(self) -> bool:
        """Whether commands have failed to come for so long that the arm brakes."""
        return self._time - self._heard > self.imperfections.timeout

    @property
    def lost(self) -> tuple[int, int]:
        """Commands lost, and sent."""
        wires = (self._velocity_wire, self._gripper_wire)
        return sum(wire.lost for wire in wires), sum(wire.sent for wire in wires)

    def command_velocities(self, now: float, values: np.ndarray) -> None:
        """Take joint velocities [rad/s], shape (n,), sent at `now`; bad ones are not obeyed."""
        if self.judge.velocities(now, values, self.imperfections.timeout):
            self._velocity_wire.send(now, np.array(values), self.imperfections)

    def command_gripper(self, now: float, values: np.ndarray) -> None:
        """Take an opening [m], shape (1,), sent at `now`."""
        if self.judge.gripper(values):
            self._gripper_wire.send(now, np.array(values), self.imperfections)

    def advance(self, now: float) -> int:
        """Let the arm move until `now`; returns the steps taken."""
        late = now - self._time - LONGEST_CATCH_UP
        if late > 0:
            self._time += late
            self.skipped += late
        steps = 0
        while self._time + self.period <= now + 1e-9:
            self._step()
            steps += 1
        if steps:
            self.judge.motion()
        return steps

    def _step(self) -> None:
        self._time += self.period
        if (packet := self._velocity_wire.receive(self._time)) is not None:
            self._heard, self._target = packet
        if (packet := self._gripper_wire.receive(self._time)) is not None:
            self._width = float(np.clip(packet[1][0], 0.0, self.arm.max_gripper_width))
        if self.braking:
            change = self.arm.joint_acceleration * self.period
            self._velocity = self._velocity - np.clip(self._velocity, -change, change)
        else:
            lag = self.imperfections.lag
            share = 1.0 if lag <= 0 else -math.expm1(-self.period / lag)
            self._velocity = self._velocity + share * (self._target - self._velocity)
        self.sim.tick(self._velocity[None], np.array([self._width]))

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of joints and gripper, shape (n + 1,), and joint velocities, shape (n,)."""
        noise, size = self._noise.normal(0.0, 1.0, 2 * self._size + 1), self._size
        imperfections = self.imperfections
        positions = self.sim.joint_positions[0] + imperfections.encoder_noise * noise[:size]
        width = float(self.sim.gripper_width[0]) + imperfections.width_noise * noise[-1]
        velocities = self.sim.joint_velocities[0]
        velocities = velocities + imperfections.velocity_noise * noise[size : 2 * size]
        return np.append(positions, width), velocities

    def loses(self) -> bool:
        """Whether the next packet from the sensors is lost."""
        return bool(self._losses.random() < self.imperfections.loss)
