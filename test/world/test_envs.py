"""The gymnasium environments."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import moe_robot_control.world  # noqa: F401  registers the environments
from moe_robot_control.policies.spaces import ACTION_HIGH, OBJECTS, SKILLS
from moe_robot_control.world.envs import BENCH_ID, BenchVectorEnv, skill_id
from moe_robot_control.world.observers import ErrorModel
from moe_robot_control.world.rewards import SUCCESS_REWARD
from moe_robot_control.world.tasks import TaskError
from moe_robot_control.world.teachers import teach


@pytest.mark.parametrize("name", [*map(skill_id, SKILLS), BENCH_ID])
def test_gymnasium_accepts_it(name: str) -> None:
    env = gym.make(name).unwrapped
    check_env(env, skip_render_check=True)


def test_bench_by_scenario() -> None:
    env = gym.make(BENCH_ID, scenario=3)
    observation, info = env.reset(seed=1)
    assert observation.shape == (48,)
    assert info["stage"] == 4
    with pytest.raises(TaskError, match="scenario 9"):
        gym.make(BENCH_ID, scenario=9)


def test_render_is_an_image() -> None:
    env = gym.make(BENCH_ID, scenario=7, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8 and image.std() > 10
    env.close()


def test_vector_equals_single() -> None:
    """Simulation i of a batch moves as an environment of its own with the same seed."""
    batch = BenchVectorEnv(3, skill="push_button")
    batch.reset(seed=[4, 5, 6])
    single = BenchVectorEnv(1, skill="push_button")
    single.reset(seed=[5])
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.uniform(-ACTION_HIGH, ACTION_HIGH, (3, 4))
        batch.step(actions)
        single.step(actions[1:2])
    gap = np.abs(batch.sim.joint_positions[1] - single.sim.joint_positions[0]).max()
    assert gap < 1e-9


def test_sparse_reward_is_success_and_autoreset_follows() -> None:
    env = BenchVectorEnv(2, skill="push_button", reward="sparse", max_steps=5)
    env.reset(seed=0)
    for step in range(1, 7):
        _, rewards, terminated, truncated, _ = env.step(np.zeros((2, 4)))
        assert (rewards == 0).all() and not terminated.any()
        assert truncated.all() == (step == 5)


@pytest.mark.parametrize("skill", SKILLS)
def test_dense_reward_adds_up_to_the_progress(skill: str) -> None:
    env = BenchVectorEnv(8, skill=skill)
    _, info = env.reset(seed=0)
    total, running = np.zeros(8), np.ones(8, dtype=bool)
    for _ in range(env.max_steps):
        _, rewards, terminated, _, info = env.step(teach(skill, info["scene"]))
        total += rewards * running
        running &= ~terminated
        if not running.any():
            break
    assert not running.any()
    # whatever stood at the start is no progress
    assert (total > SUCCESS_REWARD + 0.3).all() and (total <= SUCCESS_REWARD + 1.0).all()


def test_lingering_earns_nothing() -> None:
    env = BenchVectorEnv(4, scenario=2)
    env.reset(seed=0)
    still = np.tile([0.0, 0.0, 0.0, 0.04], (4, 1))
    total = sum(env.step(still)[1] for _ in range(50))
    assert np.abs(total).max() < 0.05


def test_covered_vial_is_unknown_until_seen() -> None:
    env = BenchVectorEnv(1, scenario=7)
    _, info = env.reset(seed=0)
    assert not info["scene"].known[0, OBJECTS.index("vial")]
    env = BenchVectorEnv(1, scenario=5)
    _, info = env.reset(seed=0)
    assert info["scene"].known[0, OBJECTS.index("vial")]


def test_error_model_has_its_size() -> None:
    env = BenchVectorEnv(
        64, scenario=5, errors=ErrorModel(position_bias=0.003, position_noise=0.001)
    )
    _, info = env.reset(seed=0)
    errors = info["scene"].positions - env.sim.object_positions()
    assert 0.0025 < errors.std() < 0.004
