"""The arm's shape as spheres, and distances between them, against MuJoCo's own."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError, CollisionConfig
from moe_robot_control.control.clearances import Clearances
from moe_robot_control.control.kinematics import Kinematics, read_model
from moe_robot_control.control.sphere_cover import read_shape

from .arms import NAMES, VARIANTS, with_post

ARMS = pytest.mark.parametrize("name", NAMES)


def kinematics_of(arm: ArmConfig) -> Kinematics:
    return Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)


def configurations(arm: ArmConfig, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(arm.joint_lower, arm.joint_upper, (count, len(arm.joint_names)))


@ARMS
def test_frames_are_those_of_the_walk(name: str) -> None:
    arm = ArmConfig.load(name)
    kinematics, q = kinematics_of(arm), configurations(arm, 20)
    frames = kinematics.frames(q)
    position, _, jacobian = kinematics.forward_and_jacobian(q)
    np.testing.assert_allclose(frames.tip, position, atol=1e-12)
    np.testing.assert_allclose(frames.jacobian, jacobian, atol=1e-12)


@ARMS
def test_the_cover_contains_every_geom(name: str) -> None:
    arm = ArmConfig.load(name)
    kinematics, model = kinematics_of(arm), read_model(arm.kinematics)
    shape, data = read_shape(arm, kinematics), mujoco.MjData(model)
    rng = np.random.default_rng(0)
    addresses = [int(model.joint(joint).qposadr[0]) for joint in arm.joint_names]
    for q in configurations(arm, 5):
        data.qpos[:] = 0.0
        data.qpos[addresses] = q
        mujoco.mj_kinematics(model, data)
        frames = kinematics.frames(q[None])
        for geom in range(model.ngeom):
            points = (
                data.geom_xpos[geom]
                + surface(model, geom, rng) @ data.geom_xmat[geom].reshape(3, 3).T
            )
            for spheres in (shape.cover, shape.hull):
                own = [
                    i
                    for i, body in enumerate(spheres.bodies)
                    if body == model.body(model.geom_bodyid[geom]).name
                ]
                if spheres is shape.hull and not own:
                    continue  # fixed to the base
                centres = spheres.place(frames)[0, own]
                if spheres is shape.cover:
                    away = np.linalg.norm(points[:, None] - centres, axis=-1)
                    assert ((away - spheres.radii[own]).min(axis=1) <= 1e-9).all()
                else:
                    lowest = (centres[:, 2] - spheres.radii[own]).min()
                    assert points[:, 2].min() >= lowest - 1e-9


def surface(model: mujoco.MjModel, geom: int, rng: np.random.Generator) -> np.ndarray:
    """Points of a geom's surface in its own frame. Shape (k, 3)."""
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return size * np.sign(directions) * np.where(rng.random((200, 3)) < 0.6, 1.0, 0.3)
    along = rng.uniform(-size[1], size[1], (200, 1)) * [0.0, 0.0, 1.0]
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        directions[:, 2] = 0.0
        return size[0] * directions / np.linalg.norm(directions, axis=1, keepdims=True) + along
    assert kind == mujoco.mjtGeom.mjGEOM_CAPSULE
    return size[0] * directions + np.sign(directions) * [0.0, 0.0, size[1]]


@pytest.mark.parametrize("arm", VARIANTS.values(), ids=VARIANTS)
def test_gradients_are_those_of_the_clearances(arm: ArmConfig) -> None:
    kinematics = kinematics_of(arm)
    clearances = Clearances(arm, kinematics)
    h = 1e-6
    for q in configurations(arm, 3):
        columns = np.arange(len(clearances.names))
        analytic = clearances.gradients(kinematics.frames(q[None]), columns)
        steps = h * np.eye(len(q))
        ends = np.concatenate([q + steps, q - steps])
        values = clearances.of(ends, kinematics.frames(ends))
        numeric = ((values[: len(q)] - values[len(q) :]) / (2 * h)).T
        # where a box's nearest face changes there are two gradients
        assert (np.abs(analytic - numeric).max(axis=1) < 1e-5).mean() > 0.995


def test_links_that_touch_at_home_are_named() -> None:
    arm = ArmConfig.load("panda")
    arm = replace(arm, collision=CollisionConfig(margin=0.0))
    with pytest.raises(ArmConfigError, match=r"'panda': at home.*panda_link3 at panda_link1"):
        Clearances(arm, kinematics_of(arm))


def test_a_body_that_is_not_there_cannot_be_ignored() -> None:
    arm = ArmConfig.load("panda")
    arm = replace(arm, collision=CollisionConfig(0.01, 0.0, (("panda_link1", "panda_elbow"),)))
    with pytest.raises(ArmConfigError, match=r"collision.ignore.*panda_elbow"):
        Clearances(arm, kinematics_of(arm))


@pytest.mark.parametrize("name", NAMES)
def test_some_of_them_and_how_far_they_can_change(name: str) -> None:
    """Any columns alone are the same; no clearance changes by more than the arm's reach allows."""
    config = with_post(ArmConfig.load(name))
    kinematics = Kinematics(config.kinematics, config.joint_names, config.tip_site)
    clearances = Clearances(config, kinematics)
    rng = np.random.default_rng(0)
    joints = kinematics.num_joints
    for _ in range(20):
        q = rng.uniform(config.joint_lower, config.joint_upper, (5, joints))
        values = clearances.of(q, kinematics.frames(q))
        chosen = np.flatnonzero(rng.random(values.shape[1]) < 0.3)
        some = clearances.some(q, kinematics.frames(q), chosen)
        np.testing.assert_allclose(some, values[:, chosen], rtol=0, atol=1e-9)
        turns = rng.uniform(-0.2, 0.2, q.shape)
        moved = clearances.of(q + turns, kinematics.frames(q + turns)) - values
        farthest = np.abs(turns) @ clearances.reach.T
        assert (np.abs(moved) <= farthest + 1e-9).all()
