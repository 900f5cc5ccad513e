"""The commander's core: tracking, limits, and any input whatever."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.policies.spaces import CONTROL_PERIOD
from moe_robot_control.world.simulation import BenchSimulation

ARM = ArmConfig.load("panda")


def roll(commander: Commander, q: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Integrate the commands of a sequence of actions; joint positions and velocities."""
    positions, velocities = [q], []
    for action in actions:
        velocity, _ = commander.step(q, action)
        q = q + CONTROL_PERIOD * velocity
        positions.append(q)
        velocities.append(velocity)
    return np.array(positions), np.array(velocities)


def test_tip_follows_the_velocity_and_holds_its_orientation() -> None:
    commander = Commander(ARM)
    wanted = np.array([0.05, -0.04, -0.06])
    actions = np.tile([*wanted, 0.08], (100, 1, 1))
    positions, _ = roll(commander, ARM.home[None], actions)
    tips, rotations = commander.kinematics.forward(positions[:, 0])
    speed = (tips[-1] - tips[40]) / (60 * CONTROL_PERIOD)
    np.testing.assert_allclose(speed, wanted, atol=2e-3)
    angle = np.arccos(np.clip((np.trace(ARM.rotation.T @ rotations[-1]) - 1) / 2, -1, 1))
    assert np.rad2deg(angle) < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_no_limit_is_ever_broken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, 1, (600, 1, 4)) * rng.choice([0.1, 1.0, 1e6], (600, 1, 1))
    actions[rng.random(600) < 0.1] = np.nan
    actions[rng.random(600) < 0.1] = np.inf
    actions = np.where(rng.random((600, 1, 1)) < 0.5, actions, [0.25, 0.25, 0.25, 0.08])
    positions, velocities = roll(Commander(ARM), ARM.home[None], actions)
    assert np.isfinite(velocities).all()
    assert (np.abs(velocities) <= ARM.joint_velocity + 1e-9).all()
    steps = np.abs(np.diff(velocities, axis=0, prepend=0.0)) / CONTROL_PERIOD
    assert (steps <= ARM.joint_acceleration + 1e-6).all()
    assert (positions >= ARM.joint_lower).all() and (positions <= ARM.joint_upper).all()


DIRECTIONS = np.array([d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)])


def test_tip_stays_in_the_workspace() -> None:
    commander = Commander(ARM, len(DIRECTIONS))
    actions = np.tile(np.column_stack([0.25 * DIRECTIONS, np.zeros(len(DIRECTIONS))]), (800, 1, 1))
    positions, _ = roll(commander, np.tile(ARM.home, (len(DIRECTIONS), 1)), actions)
    tips, _ = commander.kinematics.forward(positions.reshape(-1, 7))
    assert (tips >= ARM.workspace_lower - 0.005).all()
    assert (tips <= ARM.workspace_upper + 0.005).all()


def test_sudden_turns_do_not_bend_the_path() -> None:
    commander = Commander(ARM)
    down, up = np.tile([0, 0, -0.2, 0.0], (50, 1, 1)), np.tile([0, 0, 0.2, 0.0], (50, 1, 1))
    positions, _ = roll(commander, ARM.home[None], np.concatenate([down, up]))
    tips, _ = commander.kinematics.forward(positions[:, 0])
    assert np.abs(tips[:, :2] - tips[0, :2]).max() < 0.003


def test_stop_ramps_to_zero() -> None:
    commander = Commander(ARM)
    _, velocities = roll(commander, ARM.home[None], np.tile([0.2, 0, 0, 0.0], (50, 1, 1)))
    last = velocities[-1]
    for _ in range(50):
        velocity = commander.stop()
        assert (np.abs(velocity - last) <= ARM.joint_acceleration * CONTROL_PERIOD + 1e-9).all()
        last = velocity
    np.testing.assert_array_equal(last, 0.0)


def test_gripper_has_hysteresis() -> None:
    commander = Commander(ARM)
    widths = [
        commander.step(ARM.home[None], np.array([[0, 0, 0, wanted]]))[1][0]
        for wanted in (0.08, 0.04, 0.02, 0.04, 0.06)
    ]
    assert widths == [0.08, 0.08, 0.0, 0.0, 0.08]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"action has shape \(1, 3\)"):
        Commander(ARM).step(ARM.home[None], np.zeros((1, 3)))


LINES = {
    "across": ((0.35, -0.30, 0.20), (0.0, 1.0, 0.0)),
    "away": ((0.35, 0.00, 0.25), (1.0, 0.0, 0.0)),
    "down": ((0.50, 0.20, 0.40), (0.0, 0.0, -1.0)),
    "up aslant": ((0.35, -0.20, 0.15), (1.0, 1.0, 0.5)),
    "back aslant": ((0.65, 0.30, 0.30), (-1.0, -1.0, -0.5)),
}


@pytest.mark.parametrize(("start", "direction"), LINES.values(), ids=LINES)
def test_straight_lines_in_simulation(start: tuple, direction: tuple) -> None:
    """At 0.1 m/s: 5 mm RMS from where the tip should be by now, orientation within 3 degrees."""
    sim = BenchSimulation(1, parts=())
    commander = Commander(ARM)
    q = solve_position(commander.kinematics, np.array([start]), ARM.rotation, ARM.home)
    sim.place_arm(np.arange(1), q, np.array([0.08]))
    sim.forward()
    velocity = 0.1 * np.array(direction) / np.linalg.norm(direction)
    begin, errors, angles = sim.end_effector[0], [], []
    for tick in range(1, 301):
        command, width = commander.step(sim.joint_positions, np.array([[*velocity, 0.08]]))
        sim.tick(command, width)
        errors.append(sim.end_effector[0] - begin - velocity * tick * CONTROL_PERIOD)
        _, rotation = commander.kinematics.forward(sim.joint_positions[0])
        cosine = (np.trace(ARM.rotation.T @ rotation) - 1) / 2
        angles.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    assert np.sqrt(np.mean(np.sum(np.square(errors), axis=1))) < 0.005
    assert max(angles) < 3.0


def test_the_fastest_tip_motions_stop_within_15_ticks() -> None:
    """From full speed along every diagonal, all over the workspace, to exactly zero."""
    box = np.stack([ARM.workspace_lower, ARM.workspace_upper])
    share = np.array(list(itertools.product((0.1, 0.5, 0.9), repeat=3)))
    tips = box[0] + share * (box[1] - box[0])
    kinematics = Commander(ARM).kinematics
    starts = solve_position(kinematics, tips, ARM.rotation, ARM.home)
    reached = np.linalg.norm(kinematics.forward(starts)[0] - tips, axis=1) < 0.01
    assert reached.mean() > 0.7
    count = int(reached.sum())
    for direction in itertools.product((-0.25, 0.25), repeat=3):
        commander = Commander(ARM, count)
        actions = np.tile([*direction, 0.08], (count, 1))
        q = starts[reached]
        for _ in range(30):
            velocity, _ = commander.step(q, actions)
            q = q + CONTROL_PERIOD * velocity
        for _ in range(15):
            velocity = commander.stop()
        np.testing.assert_array_equal(velocity, 0.0)


def test_a_gripper_has_width_limits() -> None:
    commander = Commander(replace(ARM, min_gripper_width=0.01, max_gripper_width=0.05))
    widths = [
        commander.step(ARM.home[None], np.array([[0, 0, 0, wanted]]))[1][0]
        for wanted in (np.inf, 1e6, 0.0, -5.0)
    ]
    assert widths == [0.05, 0.05, 0.01, 0.01]


def test_goes_on_from_measured_velocities_after_a_gap() -> None:
    commander = Commander(ARM)
    action = np.array([[0.2, 0.0, 0.0, 0.08]])
    for _ in range(30):
        moving, _ = commander.step(ARM.home[None], action)
    commander.resume(np.zeros(7))
    velocity, _ = commander.step(ARM.home[None], action)
    assert (np.abs(velocity) <= ARM.joint_acceleration * CONTROL_PERIOD + 1e-9).all()
    for nonsense in (np.full(7, 1e9), np.full(7, np.nan)):
        commander.resume(moving[0])
        commander.resume(nonsense)
        velocity, _ = commander.step(ARM.home[None], action)
        np.testing.assert_allclose(velocity, moving, atol=0.01)
