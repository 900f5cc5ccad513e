"""The commander's step against mink's inverse kinematics: time, and what they make of a wish.

    python benchmarks/commander.py [--arm panda] [--ticks 6000]

Both get the same joints and random wishes; the arm goes as the commander says. mink solves a
quadratic programme (daqp) with a frame task, a posture task, limits of position and velocity,
and avoidance of collisions between the same links. It has no limits of acceleration and jerk, no
workspace and no way back to rest to guarantee them by: what a driver would get of it is told, too.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from importlib import metadata

import mink
import numpy as np
from rich.console import Console
from rich.table import Table

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import WORKSPACE_GAIN, Commander
from moe_robot_control.control.differential_ik import (
    ORIENTATION_GAIN,
    POSTURE_GAIN,
    joint_velocities,
)
from moe_robot_control.control.kinematics import read_model
from moe_robot_control.policies.spaces import CONTROL_PERIOD, MAX_SPEED

BATCH = 64


def wishes(ticks: int, seed: int = 0) -> np.ndarray:
    """Random actions, each held for up to half a second. Shape (ticks, 4)."""
    rng = np.random.default_rng(seed)
    actions = np.empty((ticks, 4))
    tick = 0
    while tick < ticks:
        end = tick + int(rng.integers(5, 50))
        velocity = rng.uniform(-MAX_SPEED, MAX_SPEED, 3)
        actions[tick:end] = [*velocity, rng.choice([0.0, 0.08])]
        tick = end
    return actions


class Mink:
    """mink's `solve_ik` for the same arm and tasks."""

    def __init__(self, arm: ArmConfig) -> None:
        self._arm = arm
        self._model = model = read_model(arm.kinematics)
        self._configuration = mink.Configuration(model)
        self._columns = [int(model.joint(name).dofadr[0]) for name in arm.joint_names]
        self._addresses = [int(model.joint(name).qposadr[0]) for name in arm.joint_names]
        home = np.zeros(model.nq)
        home[self._addresses] = arm.home
        self._tip = mink.FrameTask(arm.tip_site, "site", position_cost=1.0, orientation_cost=0.3)
        self._posture = mink.PostureTask(model, cost=1e-3, gain=POSTURE_GAIN * CONTROL_PERIOD)
        self._posture.set_target(home)
        limits = dict(zip(arm.joint_names, arm.joint_velocity, strict=True))
        bodies = [model.geom_bodyid[g] for g in range(model.ngeom)]
        inner = [g for g in range(model.ngeom) if bodies[g] <= bodies[0] + 3]
        outer = [g for g in range(model.ngeom) if bodies[g] >= bodies[0] + 5]
        margin = 0.0 if arm.collision is None else arm.collision.margin
        self._limits = [
            mink.ConfigurationLimit(model),
            mink.VelocityLimit(model, limits),
            mink.CollisionAvoidanceLimit(
                model,
                [(inner, outer)],
                minimum_distance_from_collisions=margin,
                collision_detection_distance=0.1,
            ),
        ]

    def solve(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Joint velocities [rad/s] for a tip velocity [m/s]."""
        full = np.zeros(self._model.nq)
        full[self._addresses] = q
        self._configuration.update(full)
        pose = self._configuration.get_transform_frame_to_world(self._arm.tip_site, "site")
        target = pose.translation() + CONTROL_PERIOD * velocity
        # as much of the rotation's error is corrected in a tick as the commander corrects
        error = mink.SO3(self._arm.orientation) @ pose.rotation().inverse()
        turn = mink.SO3.exp(ORIENTATION_GAIN * CONTROL_PERIOD * error.log()) @ pose.rotation()
        self._tip.set_target(mink.SE3.from_rotation_and_translation(turn, target))
        solution = mink.solve_ik(
            self._configuration,
            [self._tip, self._posture],
            CONTROL_PERIOD,
            "daqp",
            damping=1e-6,
            limits=self._limits,
        )
        return solution[self._columns]


def milliseconds(times: list[float]) -> list[str]:
    """Median, p99 and longest of some durations [s]."""
    return [f"{1e3 * value:.2f}" for value in np.quantile(times, [0.5, 0.99, 1.0])]


def run(arm: ArmConfig, ticks: int, clock: Callable[[], float]) -> None:
    """Time both by a clock [s] and print the table."""
    actions = wishes(ticks)
    guarded, plain = Commander(arm), Commander(arm, guarded=False)
    rival = Mink(arm)
    names = ("commander, guarded", "commander, not guarded", "mink, daqp")
    times: dict[str, list[float]] = {name: [] for name in names}
    changes: list[np.ndarray] = []
    differences: list[float] = []
    failed = 0
    q, last = arm.home.copy(), np.zeros(len(arm.home))
    rotation = arm.rotation
    for action in actions:
        begin = clock()
        velocity, _ = guarded.step(q[None], action[None])
        times[names[0]].append(clock() - begin)
        begin = clock()
        plain.step(q[None], action[None])
        times[names[1]].append(clock() - begin)
        tip, _ = guarded.kinematics.forward(q)
        room = WORKSPACE_GAIN * (np.stack([arm.workspace_lower, arm.workspace_upper]) - tip)
        wanted = np.clip(action[:3], *room)
        begin = clock()
        try:
            other = rival.solve(q, wanted)
        except mink.MinkError:
            failed, other = failed + 1, np.zeros_like(last)
        times[names[2]].append(clock() - begin)
        ours = joint_velocities(guarded.kinematics, q[None], wanted[None], rotation, arm.home)
        differences.append(float(np.abs(ours[0] - other).max()))
        changes.append(np.abs(other - last) / (arm.joint_acceleration * CONTROL_PERIOD))
        last = other
        q = q + CONTROL_PERIOD * velocity[0]
    table = Table("one step", "median [ms]", "p99 [ms]", "longest [ms]", title=f"{arm.name}")
    for name in names:
        table.add_row(name, *milliseconds(times[name]))
    batch = Commander(arm, BATCH)
    positions = np.tile(arm.home, (BATCH, 1))
    durations = []
    for action in actions[:500]:
        begin = clock()
        batch.step(positions, np.tile(action, (BATCH, 1)))
        durations.append((clock() - begin) / BATCH)
    table.add_row(f"commander, one of a batch of {BATCH}", *milliseconds(durations))
    console = Console()
    console.print(table)
    over = np.max(changes, axis=1)
    console.print(
        f"mink: {np.mean(over > 1.0):.0%} of its commands break the acceleration limit, by up to "
        f"{over.max():.1f} times; {failed} of {ticks} had no solution"
    )
    console.print(
        "difference of its joint velocities from those that the policies were trained with, "
        f"same joints and wish: median {np.median(differences):.1e} rad/s, "
        f"largest {max(differences):.1e} rad/s"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", default="panda", help="name in config/arms, or a path")
    parser.add_argument("--ticks", type=int, default=6000, help="commands (default: a minute)")
    parser.add_argument("--cpu", action="store_true", help="time of the processor, not the wall's")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    versions = {name: metadata.version(name) for name in ("mujoco", "mink", "daqp")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    clock = time.thread_time if arguments.cpu else time.perf_counter
    run(ArmConfig.load(arguments.arm), arguments.ticks, clock)


if __name__ == "__main__":
    main()
