"""The simulated operator: late, with keys for two speeds, and clumsy."""

from __future__ import annotations

import numpy as np

from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH, Scene
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.operators import DELAY, SPEEDS, Operator
from moe_robot_control.world.teachers import teach

SKILL = "pull_drawer"


def scenes(count: int, skill: str = SKILL) -> list[Scene]:
    env = BenchVectorEnv(1, skill=skill, num_threads=1)
    _, info = env.reset(seed=[0])
    found = []
    for _ in range(count):
        found.append(info["scene"])
        *_, info = env.step(teach(skill, info["scene"]))
    return found


class Steady(np.random.Generator):
    """Never slips."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, size: int) -> np.ndarray:
        return np.ones(size)


def test_it_does_late_what_the_teacher_would() -> None:
    seen = scenes(20)
    operator = Operator(SKILL, Steady())
    for t, scene in enumerate(seen):
        action = operator.act(scene)
        wanted = teach(SKILL, seen[max(0, t - DELAY)])
        assert (action[0, :3] * wanted[0, :3] >= 0.0).all()
        assert np.abs(np.abs(action[0, :3]) - np.abs(wanted[0, :3])).max() <= 0.07
        assert action[0, 3] == MAX_GRIPPER_WIDTH * (wanted[0, 3] > MAX_GRIPPER_WIDTH / 2)


def test_keys_have_few_speeds_and_slips_are_drawn_from_the_seed() -> None:
    seen = scenes(60)

    def actions(seed: int) -> np.ndarray:
        operator = Operator(SKILL, np.random.default_rng(seed))
        return np.concatenate([operator.act(scene) for scene in seen])

    first = actions(1)
    assert np.isin(np.abs(first[:, :3]), SPEEDS).all()
    np.testing.assert_array_equal(first, actions(1))
    assert (first != actions(2)).any()


def test_on_its_way_to_a_vial_the_hand_is_open() -> None:
    (far,) = scenes(1, "pick_and_drop")
    assert teach("pick_and_drop", far)[0, 3] == 0.0
    assert Operator("pick_and_drop", Steady()).act(far)[0, 3] == MAX_GRIPPER_WIDTH
