"""Resets and success of the skills: the teacher succeeds, accidents do not."""

import numpy as np
import pytest

from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    OBJECTS,
    SKILL_OBJECTS,
    SKILLS,
    Scene,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.scene import ALL_PARTS
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import PREDICATES, SUCCESS, BenchTask, TaskError, check_scenario
from moe_robot_control.world.teachers import teach, teach_stage

EPISODES = 200
ACCIDENTS = 50
"""Episodes in which nobody means to succeed."""
GOALS = {"pick_and_place": "tray", "pick_and_insert": "rack", "pick_and_drop": "bin"}


def succeeded(env: BenchVectorEnv, policy, steps: int, seed: int = 0) -> np.ndarray:
    _, info = env.reset(seed=seed)
    done = np.zeros(env.num_envs, dtype=bool)
    for _ in range(steps):
        _, _, terminated, _, info = env.step(policy(info["scene"], info["stage"]))
        done |= terminated & info["success"]
        if done.all():
            break
    return done


@pytest.mark.parametrize("skill", SKILLS)
def test_teacher_succeeds(skill: str) -> None:
    env = BenchVectorEnv(EPISODES, skill=skill, reward="sparse")
    done = succeeded(env, lambda scene, _: teach(skill, scene), env.max_steps)
    assert done.mean() >= 0.99


@pytest.mark.parametrize("skill", SKILLS)
def test_doing_nothing_never_succeeds(skill: str) -> None:
    env = BenchVectorEnv(ACCIDENTS, skill=skill, reward="sparse")
    still = np.tile([0.0, 0.0, 0.0, 0.08], (ACCIDENTS, 1))
    assert not succeeded(env, lambda *_: still, 100).any()


@pytest.mark.parametrize("skill", SKILLS)
def test_random_actions_never_succeed(skill: str) -> None:
    env = BenchVectorEnv(ACCIDENTS, skill=skill, reward="sparse")
    rng = np.random.default_rng(0)
    done = succeeded(
        env, lambda *_: rng.uniform(ACTION_LOW, ACTION_HIGH, (ACCIDENTS, 4)), env.max_steps - 1
    )
    assert not done.any()


@pytest.mark.parametrize("skill", GOALS)
def test_dragging_is_not_picking(skill: str) -> None:
    env = BenchVectorEnv(20, skill=skill, reward="sparse")
    goal = OBJECTS.index(GOALS[skill])

    def drag(scene: Scene, _: np.ndarray) -> np.ndarray:
        """Grasp as the teacher does, then pull along the bench without lifting."""
        action = teach(skill, scene)
        holding = np.abs(scene.gripper_width - 0.024) < 0.008
        towards = 3.0 * (scene.positions[:, goal] - scene.end_effector)
        action[holding, :2] = np.clip(towards[holding, :2], -0.25, 0.25)
        action[holding, 2] = 0.0
        return action

    assert not succeeded(env, drag, 200).any()


@pytest.mark.parametrize("scenario", [1, 4, 7])
def test_teachers_do_the_scenarios(scenario: int) -> None:
    env = BenchVectorEnv(40, scenario=scenario, reward="sparse")
    done = succeeded(env, lambda scene, stage: teach_stage(stage, scene), env.max_steps)
    assert done.mean() >= 0.95


def test_furniture_is_spread_wider_on_demand_and_the_teacher_succeeds_all_the_same() -> None:
    around, reached = [], []
    for times in (1.0, 5.0):
        env = BenchVectorEnv(40, skill="push_button", reward="sparse", placement_range=times)
        env.reset(seed=0)
        positions = env.sim.body_position("button/button")[:, :2].copy()
        around.append(positions - positions.mean(axis=0))
        reached.append(succeeded(env, lambda scene, _: teach("push_button", scene), env.max_steps))
    np.testing.assert_allclose(around[1], 5.0 * around[0], atol=1e-6)
    assert np.ptp(around[1], axis=0).min() > 0.1 and reached[1].mean() >= 0.95


def test_no_skill_stands_done_at_its_start() -> None:
    sim = BenchSimulation(20)
    task = BenchTask(sim)
    for scenario in range(1, 8):
        task.reset(range(20), scenario=scenario)
        remaining = SKILLS[-scenario:]
        for skill in SKILLS:
            stands = PREDICATES[skill](sim, SUCCESS)
            if skill in remaining:
                assert not stands.any(), skill
            elif skill in ("rotate_door", "unbox", "pull_drawer", "push_button"):
                assert stands.all(), skill


def test_out_of_order_fails() -> None:
    sim = BenchSimulation(1)
    task = BenchTask(sim)
    task.reset([0], scenario=7)
    sim.joint("button/button")[:] = 0.023
    sim.forward()
    task.update()
    assert task.out_of_order[0] and not task.success[0]


def knock_over(sim: BenchSimulation) -> None:
    pose = np.hstack([sim.body_position("vial/vial"), [[0.0]]])
    sim.place_loose("vial", np.array([0]), pose, pitch=1.5)
    sim.forward()


@pytest.mark.parametrize(("skill", "fails"), [("pull_drawer", True), ("pick_and_insert", False)])
def test_a_vial_knocked_over_in_passing_fails(skill: str, fails: bool) -> None:
    sim = BenchSimulation(1)
    task = BenchTask(sim)
    task.reset([0], skill=skill)
    task.update()
    assert not task.failed[0]
    knock_over(sim)
    task.update()
    assert task.knocked_over[0] == task.failed[0] == fails
    task.reset([0], skill=skill)
    assert not task.failed[0]


def test_same_seed_same_state_and_other_seed_another() -> None:
    states = []
    for seed in (5, 5, 6):
        sim = BenchSimulation(1, ALL_PARTS)
        BenchTask(sim).reset([seed], scenario=7)
        states.append(np.concatenate([sim.qpos[0], sim.object_positions()[0].ravel()]))
    np.testing.assert_array_equal(states[0], states[1])
    assert np.abs(states[0] - states[2]).max() > 1e-3


@pytest.mark.parametrize("scenario", [0, 8, 9, -1, 1.5, "3", True])
def test_no_such_scenario(scenario: object) -> None:
    with pytest.raises(TaskError, match="scenario"):
        check_scenario(scenario)


def test_skills_see_only_their_objects() -> None:
    for skill in SKILLS:
        env = BenchVectorEnv(1, skill=skill)
        _, info = env.reset(seed=0)
        known = {name for name, here in zip(OBJECTS, info["scene"].known[0], strict=True) if here}
        assert set(SKILL_OBJECTS[skill]) <= known
