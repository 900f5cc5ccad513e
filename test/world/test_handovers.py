"""Starts as the skill before leaves them."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.spaces import OBJECTS, SKILLS
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.handovers import Handovers
from moe_robot_control.world.scene import SKILL_PARTS
from moe_robot_control.world.tasks import PREDICATES, SUCCESS

VIAL = OBJECTS.index("vial")


@pytest.fixture(scope="module")
def about_the_vial() -> Handovers:
    return Handovers("pull_drawer", count=6)


def begin(handovers: Handovers, share: float = 1.0, count: int = 12, seed: int = 5) -> tuple:
    env = BenchVectorEnv(
        count,
        skill="pull_drawer",
        parts=handovers.parts,
        handovers=handovers,
        handed_over=share,
    )
    observation, info = env.reset(seed=seed)
    return env, observation, info


def test_what_was_done_stands_and_the_hand_is_still_there(about_the_vial: Handovers) -> None:
    assert 4 <= len(about_the_vial) <= 6
    env, _, info = begin(about_the_vial)
    sim = env.sim
    assert PREDICATES["pick_and_place"](sim, SUCCESS).all()
    assert not PREDICATES["pull_drawer"](sim, SUCCESS).any()
    offset = sim.end_effector - info["scene"].positions[:, VIAL]
    assert np.linalg.norm(offset[:, :2], axis=1).max() < 0.03
    assert len(np.unique(sim.end_effector[:, 0])) == 12  # an open hand stands elsewhere each time
    assert not np.abs(sim.qvel).max()
    assert (info["stage"] == SKILLS.index("pull_drawer")).all()
    for _ in range(5):  # at rest it stays so
        _, _, terminated, _, _ = env.step(np.tile([0.0, 0.0, 0.0, 0.08], (12, 1)))
        assert not terminated.any()
    assert PREDICATES["pick_and_place"](sim, SUCCESS).all()


def test_share_and_seed(about_the_vial: Handovers) -> None:
    def handed_over(env: BenchVectorEnv) -> np.ndarray:
        offset = env.sim.end_effector - env.sim.object_positions()[:, VIAL]
        return np.linalg.norm(offset[:, :2], axis=1) < 0.03

    env, first, _ = begin(about_the_vial, 0.5, 40)
    assert 8 <= handed_over(env).sum() <= 32
    np.testing.assert_array_equal(begin(about_the_vial, 0.5, 40)[1], first)
    assert not np.array_equal(begin(about_the_vial, 0.5, 40, seed=6)[1], first)
    assert not handed_over(begin(about_the_vial, 0.0)[0]).any()


def test_a_sideways_hand_knocks_the_vial_over(about_the_vial: Handovers) -> None:
    env, _, _ = begin(about_the_vial)
    failed = np.zeros(12, dtype=bool)
    for _ in range(30):
        _, _, terminated, _, info = env.step(np.tile([0.0, -0.25, 0.0, 0.08], (12, 1)))
        failed |= terminated & ~info["success"]
    assert failed.mean() > 0.7


def test_the_first_skill_takes_over_from_none() -> None:
    handovers = Handovers("rotate_door")
    assert len(handovers) == 0 and handovers.parts == SKILL_PARTS["rotate_door"]
