"""The guard slows down where it must and leaves the rest alone."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.guard import SLOW_BELOW, STOP_BELOW
from moe_robot_control.control.kinematics import read_model
from moe_robot_control.policies.spaces import CONTROL_PERIOD
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.teachers import teach_stage

from .arms import NAMES, unbounded, with_post

PANDA = ArmConfig.load("panda")


def push(
    commander: Commander, velocity: tuple[float, float, float], ticks: int
) -> tuple[np.ndarray, str]:
    """The joints after a push from home, and what it was slowed down for at the end."""
    q = commander.config.home.copy()
    for _ in range(ticks):
        command, _ = commander.step(q[None], np.array([[*velocity, 0.08]]))
        q = q + CONTROL_PERIOD * command[0]
    return q, commander.slowed_by


def test_the_whole_job_is_done_with_the_same_commands() -> None:
    """The teachers' way through all seven skills, with contacts and a gripper that closes."""
    env = BenchVectorEnv(1, scenario=7, reward="sparse")
    plain, guarded = Commander(PANDA, guarded=False), Commander(PANDA, guarded=True)
    ticks = 0

    def step(q: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal ticks
        ticks += 1
        velocity, width = plain.step(q, action)
        other, other_width = guarded.step(q, action)
        np.testing.assert_allclose(other, velocity, rtol=0, atol=1e-9)
        assert other_width == width and guarded.slowed_by == ""
        return velocity, width

    _, info = env.reset(seed=5)
    env.commander.step = step
    done = False
    while not done:
        *_, terminated, truncated, info = env.step(teach_stage(info["stage"], info["scene"]))
        done = bool(terminated[0] or truncated[0])
    assert info["success"][0] and ticks > 1000


def test_a_batch_is_not_guarded() -> None:
    with pytest.raises(ValueError, match="only one arm"):
        Commander(PANDA, 2, guarded=True)
    assert Commander(PANDA, 2).slowed_by == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_table_holds_where_the_workspace_does_not(name: str) -> None:
    commander = Commander(unbounded(ArmConfig.load(name)))
    q, reason = push(commander, (0.0, 0.0, -0.25), 400)
    assert "at the table" in reason
    lowest = lowest_point(commander, q)
    assert 0.0 <= lowest < 0.005


def lowest_point(commander: Commander, q: np.ndarray) -> float:
    """Lowest point of the moving arm by MuJoCo's own geometry [m]; fingers closed."""
    model = read_model(commander.config.kinematics)
    data = mujoco.MjData(model)
    for name, value in zip(commander.config.joint_names, q, strict=True):
        data.joint(name).qpos[0] = value
    mujoco.mj_forward(model, data)
    first = int(model.joint(commander.config.joint_names[0]).bodyid[0])
    lows = []
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] < first:
            continue
        centre, half = np.split(model.geom_aabb[geom], 2)
        rotation = data.geom_xmat[geom].reshape(3, 3)
        middle = data.geom_xpos[geom] + rotation @ centre
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            radius, length = model.geom_size[geom][:2]
            lows.append(middle[2] - abs(rotation[2, 2]) * length - radius)
        else:
            lows.append(middle[2] - np.abs(rotation[2]) @ half)
    return float(min(lows))


def test_links_keep_their_margin() -> None:
    commander = Commander(unbounded(PANDA))
    q, reason = push(commander, (-0.25, 0.0, 0.0), 400)
    assert "panda_" in reason or reason == "singularity"
    assert closest_links(commander, q) >= PANDA.collision.margin


def closest_links(commander: Commander, q: np.ndarray) -> float:
    """Least distance of the hand and wrist from base and upper arm, by MuJoCo's geometry [m]."""
    model = read_model(commander.config.kinematics)
    data = mujoco.MjData(model)
    for name, value in zip(commander.config.joint_names, q, strict=True):
        data.joint(name).qpos[0] = value
    mujoco.mj_forward(model, data)
    body = [model.body(i).name for i in model.geom_bodyid]
    outer = [i for i, name in enumerate(body) if name in ("panda_hand", "panda_link7")]
    inner = [i for i, name in enumerate(body) if name in ("panda_link0", "panda_link1")]
    return min(
        mujoco.mj_geomDistance(model, data, a, b, 2.0, np.zeros(6)) for a in outer for b in inner
    )


def test_the_tip_slides_along_a_keep_out_box_upright() -> None:
    arm = with_post(PANDA)
    commander = Commander(arm)
    post = arm.keep_out["post"]
    # from above down and sideways, onto the post's top
    q = arm.home.copy()
    action = np.array([[0.05, 0.10, -0.15, 0.0]])
    angles, blocked, tips = [], 0, []
    for _ in range(300):
        command, _ = commander.step(q[None], action)
        q = q + CONTROL_PERIOD * command[0]
        position, rotation = commander.kinematics.forward(q)
        blocked += "post" in commander.slowed_by
        cosine = (np.trace(arm.rotation.T @ rotation) - 1) / 2
        angles.append(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
        tips.append(position)
    assert blocked > 20
    assert max(angles) < 3.0
    inside = (np.array(tips) > post.lower) & (np.array(tips) < post.upper)
    assert not inside.all(axis=1).any()
    moved = np.linalg.norm(np.diff(tips, axis=0), axis=1)[-150:].sum()
    assert moved > 0.02, "stuck"


def test_motion_towards_a_singularity_stops_and_away_from_it_is_free() -> None:
    high = replace(unbounded(PANDA), collision=None)
    commander = Commander(high)
    q, reason = push(commander, (0.25, 0.0, 0.25), 600)
    smallest = np.linalg.svd(commander.kinematics.jacobian(q), compute_uv=False)[-1]
    assert reason == "singularity" or "joint" in reason
    assert STOP_BELOW * 0.8 < smallest < SLOW_BELOW
    for _ in range(15):
        commander.stop()
    for _ in range(40):
        away, _ = commander.step(q[None], np.array([[-0.25, 0.0, -0.25, 0.08]]))
        q = q + CONTROL_PERIOD * away[0]
    assert commander.slowed_by == ""
    tip_speed = np.linalg.norm((commander.kinematics.jacobian(q) @ away[0])[:3])
    assert tip_speed > 0.2
