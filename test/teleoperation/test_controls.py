"""Speed, fine mode, gripper and blends of experts."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH, MAX_SPEED, SKILLS
from moe_robot_control.teleoperation.controls import (
    FINE,
    SETTINGS,
    SPEEDS,
    WEIGHTS,
    Controls,
)


def test_speed_scales_and_has_bounds() -> None:
    controls = Controls()
    direction = np.array([1.0, -0.5, 0.0])
    for _ in SPEEDS:
        controls.apply("faster")
    assert np.allclose(controls.velocity(direction), MAX_SPEED * direction)
    controls.apply("toggle_fine")
    assert np.allclose(controls.velocity(direction), FINE * MAX_SPEED * direction)
    controls.apply("toggle_fine")
    for _ in SPEEDS:
        controls.apply("slower")
    assert np.allclose(controls.velocity(direction), SPEEDS[0] * MAX_SPEED * direction)
    assert np.allclose(controls.velocity(np.array([9.0, -9.0, 0.0])), [0.025, -0.025, 0.0])


def test_gripper() -> None:
    controls = Controls()
    openings = []
    for action in ("toggle_gripper", "toggle_gripper", "close_gripper", "open_gripper"):
        controls.apply(action)
        openings.append(controls.command(np.zeros(3)).opening)
    assert openings == [0.0, MAX_GRIPPER_WIDTH, 0.0, MAX_GRIPPER_WIDTH]


def active(controls: Controls) -> dict[str, float]:
    return {skill: weight for skill, weight in (controls.weights or {}).items() if weight}


def test_one_expert_at_a_time_or_a_blend() -> None:
    controls = Controls(WEIGHTS)
    assert controls.command(np.ones(3)) is None
    controls.apply("expert_2")
    controls.apply("expert_7")
    assert active(controls) == {SKILLS[6]: 1.0}
    controls.apply("toggle_blend")
    controls.apply("expert_1")
    assert active(controls) == {SKILLS[0]: 0.5, SKILLS[6]: 0.5}
    for _ in range(2):
        controls.apply("expert_1")
    assert active(controls) == {SKILLS[0]: 0.75, SKILLS[6]: 0.25}
    command = controls.command(np.ones(3))
    assert command.velocity is None and list(command.weights) == list(SKILLS)
    controls.apply("toggle_blend")
    controls.apply("expert_3")
    assert active(controls) == {SKILLS[2]: 1.0}
    controls.apply("no_expert")
    assert controls.weights is None


def test_experts_one_after_the_other() -> None:
    controls = Controls(WEIGHTS)
    controls.apply("previous_expert")
    assert active(controls) == {SKILLS[-1]: 1.0}
    controls.apply("next_expert")
    assert active(controls) == {SKILLS[0]: 1.0}
    controls.blending = True
    controls.apply("next_expert")
    assert active(controls) == {SKILLS[0]: 0.5, SKILLS[1]: 0.5}


def test_both_kinds_of_demonstration() -> None:
    controls = Controls()
    controls.apply("expert_1")
    assert controls.command(np.zeros(3)).weights is None
    controls.apply("switch")
    assert controls.command(np.zeros(3)).weights == controls.weights
    controls.apply("switch")
    assert controls.command(np.zeros(3)).weights is None


@pytest.mark.parametrize("action", SETTINGS)
def test_every_setting_is_done_and_told(action: str) -> None:
    controls = Controls(WEIGHTS)
    controls.apply(action)
    assert controls.describe()


def test_unknown_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="dance"):
        Controls().apply("dance")
    with pytest.raises(ValueError, match="dance"):
        Controls("dance")
