"""The arm against Franka's published figures."""

import mujoco
import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.world.scene import SceneError, build_model

# modified DH parameters (Craig) of the Panda: a, d, alpha
DH = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
]
FLANGE = 0.107
HAND_TO_TIP = 0.1134


def dh_tip(q: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(DH, q, strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    return (pose @ [0.0, 0.0, FLANGE + HAND_TO_TIP, 1.0])[:3]


def test_kinematics_follow_the_dh_parameters() -> None:
    arm = ArmConfig.load("panda")
    kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
    rng = np.random.default_rng(0)
    for q in rng.uniform(arm.joint_lower, arm.joint_upper, (50, 7)):
        np.testing.assert_allclose(kinematics.forward(q)[0], dh_tip(q), atol=1e-6)


def test_jacobian_against_finite_differences() -> None:
    arm = ArmConfig.load("panda")
    kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
    q = arm.home + 0.1
    jacobian = kinematics.jacobian(q)
    step = 1e-6
    for joint in range(7):
        shifted = q.copy()
        shifted[joint] += step
        linear = (kinematics.forward(shifted)[0] - kinematics.forward(q)[0]) / step
        np.testing.assert_allclose(jacobian[:3, joint], linear, atol=1e-5)


def test_model_has_the_arms_limits_and_mass() -> None:
    arm = ArmConfig.load("panda")
    model = build_model(())
    for name, lower, upper in zip(arm.joint_names, arm.joint_lower, arm.joint_upper, strict=True):
        np.testing.assert_allclose(model.joint(f"arm/{name}").range, [lower, upper])
    links = [model.body(f"arm/panda_link{i}").mass[0] for i in range(1, 8)]
    published = [4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522]
    np.testing.assert_allclose(links, published)


def test_held_arm_does_not_sag() -> None:
    model = build_model(())
    data = mujoco.MjData(model)
    arm = ArmConfig.load("panda")
    for name, angle in zip(arm.joint_names, arm.home, strict=True):
        data.joint(f"arm/{name}").qpos = angle
    mujoco.mj_forward(model, data)
    before = data.site("arm/tcp").xpos.copy()
    mujoco.mj_step(model, data, nstep=500)
    assert np.linalg.norm(data.site("arm/tcp").xpos - before) < 1e-3


def test_an_arm_without_actuators_is_not_simulated() -> None:
    with pytest.raises(SceneError, match=r"'ur5e' cannot be simulated.*shoulder_pan_joint"):
        build_model((), ArmConfig.load("ur5e"))
