"""Options of the environments: several scenarios, stopping, errors of what is observed."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.spaces import ACTION_HIGH, SKILLS
from moe_robot_control.world.envs import STEPS_PER_SKILL, BenchVectorEnv
from moe_robot_control.world.observers import ErrorModel
from moe_robot_control.world.tasks import TaskError

SCENARIOS = (1, 4, 7)
REST = np.array([0.0, 0.0, 0.0, 0.04])


def drawn(env: BenchVectorEnv) -> np.ndarray:
    """The scenario of each episode that has just begun."""
    return len(SKILLS) - env.task.stage


def test_each_episode_draws_a_scenario() -> None:
    env = BenchVectorEnv(60, scenario=SCENARIOS, num_threads=1)
    observation, info = env.reset(seed=0)
    assert observation.shape == (60, 48)
    first = drawn(env)
    assert set(first) == set(SCENARIOS)
    assert np.bincount(first).max() < 40
    np.testing.assert_array_equal(info["stage"], len(SKILLS) - first)
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(drawn(env), first)
    np.testing.assert_array_equal(again, observation)
    env.reset(seed=range(59, -1, -1))
    np.testing.assert_array_equal(drawn(env)[::-1], first)
    env.reset(seed=1000)
    assert (drawn(env) != first).any()


def test_a_drawn_scenario_is_the_same_as_that_scenario_alone() -> None:
    several = BenchVectorEnv(12, scenario=SCENARIOS, num_threads=1)
    observation, _ = several.reset(seed=0)
    for scenario in SCENARIOS:
        rows = np.flatnonzero(drawn(several) == scenario)
        alone, _ = BenchVectorEnv(len(rows), scenario=scenario, num_threads=1).reset(seed=rows)
        np.testing.assert_array_equal(alone, observation[rows])


def test_each_scenario_has_its_own_time() -> None:
    scenarios = (1, 2, 4)
    env = BenchVectorEnv(12, scenario=scenarios, num_threads=1)
    env.reset(seed=0)
    one_each = [int(np.flatnonzero(drawn(env) == scenario)[0]) for scenario in scenarios]
    env = BenchVectorEnv(3, scenario=scenarios, reward="sparse", num_threads=1)
    env.reset(seed=one_each)
    np.testing.assert_array_equal(drawn(env), scenarios)
    ended = np.zeros(3, dtype=int)
    for step in range(1, env.max_steps + 1):
        _, _, terminated, truncated, _ = env.step(np.tile(REST, (3, 1)))
        assert not (terminated & (ended == 0)).any()
        ended[truncated & (ended == 0)] = step
        env.stop(ended > 0)
    assert ended.tolist() == [STEPS_PER_SKILL * scenario for scenario in scenarios]
    assert STEPS_PER_SKILL == 160


def test_what_was_undone_gets_time_of_its_own() -> None:
    env = BenchVectorEnv(2, scenario=1, reward="sparse", num_threads=1)
    for undo in (True, False):
        env.reset(seed=0)
        if undo:
            env.task.undo(np.array([1]), "pull_drawer")
        ended = np.zeros(2, dtype=int)
        for step in range(1, 2 * STEPS_PER_SKILL + 1):
            _, _, _, truncated, _ = env.step(np.tile(REST, (2, 1)))
            ended[truncated & (ended == 0)] = step
            env.stop(ended > 0)
            if ended.all():
                break
        assert ended.tolist() == [STEPS_PER_SKILL, STEPS_PER_SKILL * (1 + undo)]


def test_max_steps_overrides_the_time_of_every_scenario() -> None:
    env = BenchVectorEnv(6, scenario=SCENARIOS, max_steps=3, num_threads=1)
    env.reset(seed=0)
    for step in range(1, 4):
        _, _, _, truncated, _ = env.step(np.tile(REST, (6, 1)))
        assert truncated.all() == (step == 3) == truncated.any()


@pytest.mark.parametrize("several", [(1, 8), (0,), (1, 2.5)])
def test_no_such_scenario_among_several(several: tuple) -> None:
    with pytest.raises(TaskError, match="scenario"):
        BenchVectorEnv(1, scenario=several)


def test_stopped_environments_rest_and_the_others_go_on() -> None:
    options = {
        "scenario": 2,
        "errors": ErrorModel(0.001, 0.005, 0.002, 0.001),
        "num_threads": 1,
    }
    env, unstopped = BenchVectorEnv(4, **options), BenchVectorEnv(4, **options)
    actions = np.random.default_rng(0).uniform(-ACTION_HIGH, ACTION_HIGH, (40, 4, 4))
    for each in (env, unstopped):
        each.reset(seed=3)
        for action in actions[:10]:
            each.step(action)
    rest, go = [1, 3], [0, 2]
    env.stop(np.array([False, True, False, True]))
    joints, state = env.sim.joint_positions[rest].copy(), env.sim.qpos[rest].copy()
    for action in actions[10:]:
        mine, theirs = env.step(action), unstopped.step(action)
        for one, other in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(one[go], other[go])
        np.testing.assert_array_equal(env.sim.qpos[go], unstopped.sim.qpos[go])
    np.testing.assert_array_equal(env.sim.joint_positions[rest], joints)
    np.testing.assert_array_equal(env.sim.qpos[rest], state)
    assert np.abs(unstopped.sim.joint_positions[rest] - joints).max() > 1e-3
    # another stop adds to the first; a reset wakes all
    env.stop(np.array([True, False, False, False]))
    before = env.sim.joint_positions.copy()
    env.step(actions[0])
    moved = np.abs(env.sim.joint_positions - before).max(axis=1) > 0
    assert moved.tolist() == [False, False, True, False]
    env.reset(seed=3)
    unstopped.reset(seed=3)
    for action in actions[:5]:
        mine, theirs = env.step(action), unstopped.step(action)
    np.testing.assert_array_equal(mine[0], theirs[0])
    np.testing.assert_array_equal(env.sim.qpos, unstopped.sim.qpos)


def test_a_stopped_environment_is_not_begun_anew() -> None:
    env = BenchVectorEnv(2, scenario=1, max_steps=3, num_threads=1)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.tile(REST, (2, 1)))
    env.stop(np.array([True, False]))
    before = env.sim.object_positions()
    env.step(np.tile(REST, (2, 1)))
    shift = np.abs(np.nan_to_num(env.sim.object_positions() - before)).max(axis=(1, 2))
    assert shift[0] == 0.0 and shift[1] > 1e-3


def errors_of(env: BenchVectorEnv) -> np.ndarray:
    """Observed minus true positions now. Shape (n, 11, 3)."""
    return env.scene.positions - env.sim.object_positions()


def test_bias_is_constant_in_an_episode_and_anew_in_the_next() -> None:
    env = BenchVectorEnv(16, scenario=5, errors=ErrorModel(position_bias=0.003), num_threads=1)
    env.reset(seed=0)
    first = errors_of(env)
    assert first.std() == pytest.approx(0.003, rel=0.1)
    for _ in range(10):
        env.step(np.tile([0.1, 0.1, -0.1, 0.04], (16, 1)))
        np.testing.assert_allclose(errors_of(env), first, atol=1e-12)
    env.reset(seed=100)
    assert np.abs(np.corrcoef(errors_of(env).ravel(), first.ravel())[0, 1]) < 0.2


def test_each_episode_draws_its_noise_from_a_range() -> None:
    # the first two looks come through unfiltered
    env = BenchVectorEnv(
        64, scenario=5, errors=ErrorModel(position_noise=(0.002, 0.03)), num_threads=1
    )
    env.reset(seed=0)
    first = errors_of(env).std(axis=(1, 2))
    env.step(np.tile(REST, (64, 1)))
    second = errors_of(env).std(axis=(1, 2))
    assert np.corrcoef(first, second)[0, 1] > 0.9
    assert first.min() < 0.006 and 0.024 < first.max() < 0.04
    # uniform within the range
    assert first.mean() == pytest.approx(0.016, abs=0.004)
    env.reset(seed=500)
    assert np.abs(np.corrcoef(errors_of(env).std(axis=(1, 2)), first)[0, 1]) < 0.5


def test_noise_of_tip_and_opening_have_their_size() -> None:
    env = BenchVectorEnv(
        64, scenario=5, errors=ErrorModel(tip_noise=0.005, width_noise=0.001), num_threads=1
    )
    env.reset(seed=0)
    tips, widths = [], []
    for _ in range(4):
        env.step(np.tile(REST, (64, 1)))
        tips.append(env.scene.end_effector - env.sim.end_effector)
        widths.append(env.scene.gripper_width - env.sim.gripper_width)
        assert np.abs(errors_of(env)).max() < 1e-12
    assert np.std(tips) == pytest.approx(0.005, rel=0.15)
    assert np.std(widths) == pytest.approx(0.001, rel=0.2)
    # anew at every look
    assert abs(np.corrcoef(tips[0].ravel(), tips[1].ravel())[0, 1]) < 0.25


def test_no_errors_by_default() -> None:
    env = BenchVectorEnv(2, scenario=5, num_threads=1)
    env.reset(seed=0)
    env.step(np.tile(REST, (2, 1)))
    np.testing.assert_array_equal(errors_of(env), 0.0)
    np.testing.assert_array_equal(env.scene.end_effector, env.sim.end_effector)
    np.testing.assert_array_equal(env.scene.gripper_width, env.sim.gripper_width)


def test_info_says_what_was_disturbed() -> None:
    env = BenchVectorEnv(3, scenario=4, disturbed=1.0, num_threads=1)
    _, info = env.reset(seed=0)
    assert info["disturbed"].tolist() == [-1] * 3
    _, _, _, _, info = env.step(np.tile(REST, (3, 1)))
    assert info["disturbed"].shape == (3,)
    before = info["disturbed"].copy()
    env.disturbances.happened[:] = 2
    np.testing.assert_array_equal(info["disturbed"], before)
