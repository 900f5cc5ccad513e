"""Meta-World's suite: the protocol with a stand-in for its package, and the real one if there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.learning.metaworld_suite import MT10, PYTHON, REWARD_SCALE, MetaworldSuite
from moe_robot_control.learning.settings import TrainingError

STAND_IN = """
import types
import numpy as np

print("what libraries print")


class Env:
    def set_task(self, task):
        self.goal = task.goal

    def reset(self):
        self.time = 0
        return np.full(39, self.goal), {}

    def step(self, action):
        self.time += 1
        state = np.full(39, self.goal + self.time)
        return state, float(action.sum()), False, self.time == 3, {"success": self.time == 2}


class MT10:
    def __init__(self, seed):
        names = ("reach-v3", "push-v3", "door-open-v3")
        self.train_classes = {name: Env for name in names}
        self.train_tasks = [
            types.SimpleNamespace(env_name=name, goal=10 * i + j / 10)
            for i, name in enumerate(names)
            for j in range(5)
        ]
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter with the stand-in."""
    (tmp_path / "metaworld.py").write_text(STAND_IN)
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_tasks_are_stepped_in_order(python: Path) -> None:
    suite = MetaworldSuite(2, ("reach-v3", "push-v3", "door-open-v3"), python, 2)
    states = suite.reset(0)
    assert states.shape == (3, 2, 39)
    np.testing.assert_array_equal(states[..., 0] // 10, [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(suite.reset(0), states)
    actions = np.arange(6).reshape(3, 2, 1) / 10 * np.ones(4)
    first, second, third, fourth = (suite.step(actions) for _ in range(4))
    np.testing.assert_allclose(first.states, states + 1, atol=1e-5)
    np.testing.assert_allclose(first.rewards, REWARD_SCALE * actions.sum(-1), atol=1e-6)
    assert first.valid.all() and not first.ended.any() and not first.terminated.any()
    assert second.success.all() and not third.success.any()
    assert third.ended.all() and third.valid.all() and not third.terminated.any()
    # the next only begins an episode
    assert not fourth.valid.any() and (fourth.states % 10 < 1).all()


def test_actions_are_clipped(python: Path) -> None:
    suite = MetaworldSuite(1, ("reach-v3",), python)
    suite.reset(0)
    assert suite.step(np.full((1, 1, 4), 5.0)).rewards[0, 0] == pytest.approx(4 * REWARD_SCALE)


def test_unknown_task_and_missing_interpreter_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="'juggle'"):
        MetaworldSuite(1, ("juggle",))
    with pytest.raises(TrainingError, match=r"nowhere.*make metaworld"):
        MetaworldSuite(1, MT10, tmp_path / "nowhere")


def test_a_process_that_ends_is_reported() -> None:
    # has no metaworld
    suite = MetaworldSuite(1, ("reach-v3",), Path(sys.executable))
    with pytest.raises(TrainingError, match="ended with status 1"):
        suite.reset(0)
        suite.step(np.zeros((1, 1, 4)))


@pytest.mark.skipif(not PYTHON.is_file(), reason="make metaworld")
def test_the_real_one() -> None:
    suite = MetaworldSuite(1, ("reach-v3", "window-close-v3"))
    states = suite.reset(1)
    assert np.isfinite(states).all() and (states[0, 0, -3:] != 0).any()
    step = suite.step(np.zeros((2, 1, 4)))
    assert step.states.shape == (2, 1, 39) and (step.rewards >= 0).all()
