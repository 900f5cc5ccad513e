"""The multi-task trainer on small suites, and the suite of the bench."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from moe_robot_control.learning import bench_suite
from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.multitask import MultiTaskConfig, MultiTaskTrainer, NetworkConfig
from moe_robot_control.learning.sac import SacConfig
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.task_suites import Step, run_episodes
from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.world.handovers import Handovers
from moe_robot_control.world.rewards import SUCCESS_REWARD

KINDS = ("multi_task", "multi_head", "mixture_of_experts", "hard_routing", "soft_modular")
CONFIG = MultiTaskConfig(
    steps=480,
    num_envs=4,
    replay=500,
    random_steps=20,
    handed_over=0.0,
    demonstrations=0,
    demonstration_noise=0.1,
    updates=1,
    evaluate_every=240,
    evaluation_episodes=3,
    network=NetworkConfig("soft_modular", 8, 2, 2, 8),
    sac=SacConfig(batch=8),
)


class Points:
    """Two tasks: a point is to be brought to +0.5 or to -0.5 within ten steps."""

    names = ("right", "left")
    num_inputs, num_actions = 1, 1

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs

    @staticmethod
    def features(state: Tensor) -> Tensor:
        return torch.cat([state, state.square()], dim=1)

    def reset(self, seed: int) -> np.ndarray:
        self._rng = np.random.default_rng(seed)
        self._x = self._rng.uniform(-0.2, 0.2, (2, self.num_envs))
        self._time = np.zeros((2, self.num_envs))
        self._ended = np.zeros((2, self.num_envs), dtype=bool)
        return self._states()

    def step(self, actions: np.ndarray) -> Step:
        valid = ~self._ended
        goal = np.array([[0.5], [-0.5]])
        before = np.abs(self._x - goal)
        self._x = np.where(valid, self._x + 0.2 * actions[..., 0], 0.0)
        self._time = np.where(valid, self._time + 1, 0)
        distance = np.abs(self._x - goal)
        success = (distance < 0.1) & valid
        self._ended = success | (self._time >= 10)
        rewards = before - distance + success
        return Step(self._states(), rewards, success, self._ended.copy(), valid, success)

    def rest(self, which: np.ndarray) -> None:
        pass

    def teach(self) -> np.ndarray:
        return np.sign(np.array([[0.5], [-0.5]]) - self._x)[..., None]

    def _states(self) -> np.ndarray:
        return self._x[..., None].astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_trains(kind: str, tmp_path: Path) -> None:
    config = replace(CONFIG, network=replace(CONFIG.network, kind=kind))
    trainer = MultiTaskTrainer(Points, config, 0, tmp_path)
    actor = trainer.run()
    assert [steps for steps, _ in trainer.curve] == [240, 480] and trainer.steps == 480
    answer = actor(torch.zeros(2, 1), torch.eye(2))
    assert answer.shape == (2, 2) and torch.isfinite(answer).all()


def test_unknown_kind_is_named(tmp_path: Path) -> None:
    config = replace(CONFIG, network=replace(CONFIG.network, kind="magic"))
    with pytest.raises(TrainingError, match="'magic'"):
        MultiTaskTrainer(Points, config, 0, tmp_path)


def test_it_learns_both_tasks(tmp_path: Path) -> None:
    config = replace(
        CONFIG,
        steps=4000,
        updates=2,
        evaluate_every=4000,
        evaluation_episodes=20,
        network=NetworkConfig("soft_modular", 32, 2, 2, 32),
        sac=SacConfig(batch=32, learning_rate=3e-3, temperature_learning_rate=3e-3),
    )
    trainer = MultiTaskTrainer(Points, config, 0, tmp_path)
    assert trainer.evaluate(20).min() < 0.5
    trainer.run()
    assert min(trainer.curve[-1][1]) > 0.9


def test_equal_seeds_equal_networks_and_interruptions_lose_nothing(tmp_path: Path) -> None:
    def weights(trainer: MultiTaskTrainer) -> Tensor:
        return torch.cat([p.detach().ravel() for p in trainer.learner.parameters()])

    first = MultiTaskTrainer(Points, CONFIG, 3, tmp_path / "a")
    first.run()
    second = MultiTaskTrainer(Points, CONFIG, 3, tmp_path / "b")
    second.run()
    torch.testing.assert_close(weights(first), weights(second), rtol=0.0, atol=0.0)
    taken_up = MultiTaskTrainer(Points, CONFIG, 3, tmp_path / "a")
    assert (taken_up.steps, taken_up.curve) == (480, first.curve)
    torch.testing.assert_close(weights(taken_up), weights(first), rtol=0.0, atol=0.0)
    batches = [t._replay.sample(40, np.random.default_rng(0)) for t in (taken_up, first)]
    torch.testing.assert_close(batches[0].rewards, batches[1].rewards)
    assert MultiTaskTrainer(Points, CONFIG, 4, tmp_path / "a").steps == 0
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        MultiTaskTrainer(Points, CONFIG, 3, tmp_path / "a")


def test_half_of_every_batch_is_demonstrated(tmp_path: Path) -> None:
    config = replace(CONFIG, demonstrations=5)
    trainer = MultiTaskTrainer(Points, config, 0, tmp_path)
    demonstrated = trainer._demonstrated
    assert demonstrated is not None
    # all went the way of their task, with noise, to the end
    for task, sign in enumerate((1.0, -1.0)):
        count = demonstrated.added[task]
        assert count < 5 * 10 and demonstrated.terminated[task, :count].sum() == 5
        actions = sign * demonstrated.actions[task, :count]
        assert actions.mean() > 0.8 and actions.std() > 0.01
    states = trainer.suite.reset(0)
    for _ in range(8):
        states = trainer._collect(states, np.random.default_rng(0))
    own, shown = trainer._sample(np.random.default_rng(0))
    assert shown is not None
    for batch in (own, shown):
        assert batch.tasks.shape == (8, 2) and batch.tasks.sum(0).tolist() == [4, 4]
    assert shown.terminated.sum() > 0
    trainer.run()


def test_episodes_that_are_over_are_not_stepped_and_others_go_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def outcome() -> tuple[list[np.ndarray], list[int]]:
        suite = BenchSuite(4, ("push_button", "unbox"))
        moved = []
        for env in suite._envs:
            tick = env.sim.tick

            def counted(velocities: Any, width: Any, ids: Any = None, tick: Any = tick) -> None:
                moved.append(len(velocities) if ids is None else len(ids))
                tick(velocities, width, ids)

            monkeypatch.setattr(env.sim, "tick", counted)
        found = [
            np.where(running[..., None], step.states, 0.0)
            for running, _, _, step in run_episodes(suite, lambda states: suite.teach(), 7)
        ]
        return found, moved

    found, moved = outcome()
    monkeypatch.setattr(BenchSuite, "rest", lambda self, which: None)
    others, all_moved = outcome()
    np.testing.assert_array_equal(found, others)
    assert min(moved) == 0 and sum(moved) < 0.95 * sum(all_moved)


def test_the_teachers_do_every_skill() -> None:
    suite = BenchSuite(3)
    suite.reset(1_000_000)
    running, success = np.ones((7, 3), dtype=bool), np.zeros((7, 3), dtype=bool)
    while running.any():
        step = suite.step(suite.teach())
        success |= step.success & running
        running &= ~step.ended
    assert success.all()


def test_the_benchs_skills_have_one_shape() -> None:
    suite = BenchSuite(2)
    states = suite.reset(0)
    assert suite.names == SKILLS and states.shape == (7, 2, 12)
    button = SKILLS.index("push_button")
    assert not states[button, :, 8:].any() and states[0, :, 11].all()
    again = BenchSuite(2).reset(0)
    np.testing.assert_array_equal(states, again)
    step = suite.step(np.zeros((7, 2, 4)))
    assert step.valid.all() and not step.ended.any() and step.rewards.shape == (7, 2)


def test_a_skill_that_is_done_ends_its_episode() -> None:
    suite = BenchSuite(3, ("push_button",))
    states = suite.reset(0)
    ended_at = None
    for count in range(120):
        tip, target = states[0, :, :3], states[0, :, 4:7]
        flat = np.clip(8.0 * (target - tip)[:, :2], -1.0, 1.0)
        near = np.linalg.norm((target - tip)[:, :2], axis=1) < 0.01
        down = np.where(near, -0.5, 0.0)[:, None]
        step = suite.step(np.concatenate([flat, down, -np.ones((3, 1))], axis=1)[None])
        states = step.states
        if step.success.any():
            ended_at = count
            break
    assert ended_at is not None
    done = step.success[0]
    assert (step.terminated[0] == done).all() and step.rewards[0, done].min() > 0.9 * SUCCESS_REWARD
    following = suite.step(np.zeros((1, 3, 4)))
    assert (following.valid[0] == ~done).all() and not following.ended[0, done].any()


def test_episodes_may_begin_where_the_skill_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    # a dozen episodes of the teacher are enough here
    bench_suite._handovers.cache_clear()
    monkeypatch.setattr(bench_suite, "Handovers", partial(Handovers, count=12))
    alone, after = (BenchSuite(8, ("unbox",), handed_over=share) for share in (0.0, 1.0))
    first, second = alone.reset(3), after.reset(3)
    assert first.shape == second.shape == (1, 8, 12)
    # the hand is still at the opened door, to the side, not anywhere
    assert second[0, :, :3].std(axis=0).max() < 0.5 * first[0, :, :3].std(axis=0).max()
    bench_suite._handovers.cache_clear()
