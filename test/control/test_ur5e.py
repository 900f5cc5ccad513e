"""The UR5e against its published figures, and in motion."""

from __future__ import annotations

import itertools
from pathlib import Path

import mujoco
import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.policies.spaces import CONTROL_PERIOD
from moe_robot_control.share import share_path

ARM = ArmConfig.load("ur5e")
KINEMATICS = Kinematics(ARM.kinematics, ARM.joint_names, ARM.tip_site)

# Denavit-Hartenberg parameters as published: a, d, alpha
DH = [
    (0.0, 0.1625, np.pi / 2),
    (-0.425, 0.0, 0.0),
    (-0.3922, 0.0, 0.0),
    (0.0, 0.1333, np.pi / 2),
    (0.0, 0.0997, -np.pi / 2),
    (0.0, 0.0996, 0.0),
]
FLANGE_TO_TIP = 0.16


def dh_flange(q: np.ndarray) -> np.ndarray:
    """The flange's pose in the base that looks forward: half a turn from that of the tables."""
    pose = np.diag([-1.0, -1.0, 1.0, 1.0])
    for (a, d, alpha), theta in zip(DH, q, strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st * ca, st * sa, a * ct],
                [st, ct * ca, -ct * sa, a * st],
                [0, sa, ca, d],
                [0, 0, 0, 1],
            ]
        )
    return pose


def test_kinematics_follow_the_dh_parameters() -> None:
    rng = np.random.default_rng(0)
    for q in rng.uniform(ARM.joint_lower, ARM.joint_upper, (50, 6)):
        position, rotation = KINEMATICS.forward(q)
        flange = dh_flange(q)
        np.testing.assert_allclose(
            position, flange[:3, 3] + FLANGE_TO_TIP * flange[:3, 2], atol=1e-7
        )
        np.testing.assert_allclose(rotation, flange[:3, :3], atol=1e-7)


def test_known_pose() -> None:
    """Stretched out along x at zero, as the description of Universal Robots is."""
    position, _ = KINEMATICS.forward(np.zeros(6))
    expected = [0.425 + 0.3922, 0.1333 + 0.0996 + FLANGE_TO_TIP, 0.1625 - 0.0997]
    np.testing.assert_allclose(position, expected, atol=1e-7)


def test_home_is_elbow_up_over_the_bench_with_the_fingers_down() -> None:
    position, rotation = KINEMATICS.forward(ARM.home)
    np.testing.assert_allclose(position, [0.45, 0.0, 0.30], atol=1e-3)
    np.testing.assert_allclose(rotation, ARM.rotation, atol=1e-3)
    model = mujoco.MjModel.from_xml_path(str(ARM.kinematics))
    data = mujoco.MjData(model)
    data.qpos[:] = ARM.home
    mujoco.mj_forward(model, data)
    elbow, wrist = data.body("forearm_link").xpos, data.body("wrist_1_link").xpos
    assert elbow[2] > max(wrist[2], 0.4)
    assert data.ncon == 0


def test_the_file_and_the_configuration_agree_on_the_range_of_the_joints() -> None:
    model = mujoco.MjModel.from_xml_path(str(ARM.kinematics))
    for name, lower, upper in zip(ARM.joint_names, ARM.joint_lower, ARM.joint_upper, strict=True):
        np.testing.assert_allclose(model.joint(name).range, [lower, upper], atol=1e-3)


def test_every_corner_of_the_workspace_is_reached_without_touching_itself() -> None:
    corners = np.array(
        list(itertools.product(*zip(ARM.workspace_lower, ARM.workspace_upper, strict=True)))
    )
    q = solve_position(KINEMATICS, corners, ARM.rotation, ARM.home)
    reached, _ = KINEMATICS.forward(q)
    np.testing.assert_allclose(reached, corners, atol=2e-3)
    assert (q > ARM.joint_lower).all() and (q < ARM.joint_upper).all()
    model = mujoco.MjModel.from_xml_path(str(ARM.kinematics))
    data = mujoco.MjData(model)
    for configuration in q:
        data.qpos[:] = configuration
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_a_folded_arm_touches_itself() -> None:
    model = mujoco.MjModel.from_xml_path(str(ARM.kinematics))
    data = mujoco.MjData(model)
    data.qpos[:] = [0.0, -1.57, 2.9, 1.2, 0.0, 0.0]
    mujoco.mj_forward(model, data)
    assert data.ncon > 0


@pytest.mark.parametrize("direction", [[0, 1, 0], [0, -1, 0], [1, 0, 0], [0, 0, -1], [1, 1, -1]])
def test_straight_line_with_held_orientation(direction: list[float]) -> None:
    """0.1 m/s from home: within 5 mm RMS of the line, within 3 degrees."""
    commander = Commander(ARM)
    wanted = 0.1 * np.array(direction) / np.linalg.norm(direction)
    q, tips, angles = ARM.home[None], [], []
    for _ in range(150):
        velocity, _ = commander.step(q, np.array([[*wanted, 0.08]]))
        q = q + CONTROL_PERIOD * velocity
        position, rotation = commander.kinematics.forward(q[0])
        tips.append(position)
        cosine = (np.trace(ARM.rotation.T @ rotation) - 1) / 2
        angles.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
    travelled = np.array(tips) - KINEMATICS.forward(ARM.home)[0]
    along = travelled @ wanted / 0.1
    aside = travelled - along[:, None] * wanted / 0.1
    assert along[-1] > 0.13
    assert np.sqrt((aside**2).sum(axis=1).mean()) < 0.005
    assert max(angles) < 3.0


def test_the_grippers_joint_and_its_opening() -> None:
    assert ARM.gripper_opening(0.7929) == 0.0
    assert ARM.gripper_opening(0.0) == pytest.approx(0.085, abs=1e-4)
    for opening in (0.0, 0.03, 0.08):
        assert ARM.gripper_opening(ARM.gripper_position(opening)) == pytest.approx(opening)
    panda = ArmConfig.load("panda")
    width = 0.0123456789
    assert panda.gripper_opening(width) is width and panda.gripper_position(width) is width


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ("  closed: 0.7929", "  other: 0.7929", "gripper.closed"),
        ("  open: 0.0466", "  open: wide", "gripper.open"),
        ("  open: 0.0466", "  open: 0.7929", "equal"),
    ],
)
def test_a_bad_gripper_is_named(tmp_path: Path, old: str, new: str, culprit: str) -> None:
    text = share_path("config/arms/ur5e.yaml").read_text()
    assert old in text
    path = tmp_path / "arm.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ArmConfigError, match=culprit):
        ArmConfig.load(path)


@pytest.mark.parametrize("seed", range(2))
def test_no_limit_is_broken_whatever_is_wanted(seed: int) -> None:
    """Long pushes anywhere, and nonsense: limits and walls hold, no link touches another."""
    rng = np.random.default_rng(seed)
    actions = np.repeat(rng.choice([-0.25, 0.0, 0.25, 5.0], (16, 4)), 50, axis=0)
    actions[rng.random(len(actions)) < 0.05] = np.nan
    commander = Commander(ARM)
    model = mujoco.MjModel.from_xml_path(str(ARM.kinematics))
    data = mujoco.MjData(model)
    q, last = ARM.home.copy(), np.zeros(6)
    for tick, action in enumerate(actions):
        velocity = commander.step(q[None], action[None])[0][0]
        assert (np.abs(velocity) <= ARM.joint_velocity).all()
        change = np.abs(velocity - last) / CONTROL_PERIOD
        assert (change <= ARM.joint_acceleration + 1e-6).all()
        q, last = q + CONTROL_PERIOD * velocity, velocity
        tip, _ = KINEMATICS.forward(q)
        assert (tip >= ARM.workspace_lower - 0.005).all(), (tick, tip)
        assert (tip <= ARM.workspace_upper + 0.005).all(), (tick, tip)
        if tick % 10 == 0:
            data.qpos[:] = q
            mujoco.mj_forward(model, data)
            assert data.ncon == 0
