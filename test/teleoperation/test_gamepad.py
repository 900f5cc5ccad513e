"""Deadman, deadzone, buttons and silence of a gamepad."""

from __future__ import annotations

import numpy as np
import pytest

from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH, SKILLS
from moe_robot_control.teleoperation.controls import MOTION, WEIGHTS, Controls, TeleoperationError
from moe_robot_control.teleoperation.gamepad import DEADLINE, Gamepad
from moe_robot_control.teleoperation.mapping import GamepadMapping

MAPPING = GamepadMapping.load("gamepad")
LB, RB, A, B, X, Y = 4, 5, 0, 1, 2, 3


class Pad:
    """A gamepad that is told what is pressed."""

    def __init__(self, demonstrated: str = MOTION) -> None:
        self.gamepad = Gamepad(MAPPING, Controls(demonstrated, speed=5))
        self.now = 0.0
        self.set()

    def set(self, *pressed: int, after: float = 0.05, **axes: float) -> list[str]:
        self.now += after
        values = [0.0] * 8
        for name, value in axes.items():
            values[int(name[1:])] = value
        return self.gamepad.update(self.now, values, [int(i in pressed) for i in range(11)])

    def command(self, after: float = 0.0):
        return self.gamepad.command(self.now + after)


def test_nothing_moves_without_the_deadman() -> None:
    pad = Pad()
    pad.set(a1=1.0)
    assert pad.command() is None
    pad.set(LB, a1=1.0, a0=0.5, a4=-1.0)
    assert np.allclose(pad.command().velocity, [0.25, 0.25 * 0.4 / 0.9, -0.25])
    pad.set(a1=1.0)
    assert pad.command() is None


def test_silence_lets_go_until_the_deadman_is_pressed_anew() -> None:
    pad = Pad()
    pad.set(LB, a1=1.0)
    assert pad.command(DEADLINE - 0.01) is not None
    assert pad.command(DEADLINE + 0.01) is None
    pad.set(LB, a1=1.0, after=DEADLINE + 0.1)
    assert pad.command() is None
    pad.set(LB, a1=1.0)
    assert pad.command() is None
    pad.set()
    pad.set(LB, a1=1.0)
    assert pad.command() is not None


def test_a_jammed_deadman_moves_nothing() -> None:
    gamepad = Gamepad(MAPPING, Controls())
    for i in range(5):
        gamepad.update(0.05 * i, [0.0, 1.0] + [0.0] * 6, [0, 0, 0, 0, 1] + [0] * 6)
        assert gamepad.command(0.05 * i) is None


def test_deadzone_is_continuous() -> None:
    pad = Pad()
    speeds = []
    for value in (0.0, 0.1, 0.101, 0.5, 1.0, 1.2):
        pad.set(LB, a1=value)
        speeds.append(pad.command().velocity[0])
    assert speeds[:2] == [0.0, 0.0] and 0 < speeds[2] < 1e-3
    assert np.all(np.diff(speeds[1:5]) > 0) and speeds[4] == speeds[5] == 0.25


def test_buttons_act_once_and_with_or_without_the_deadman() -> None:
    pad = Pad()
    assert pad.set(B) == ["emergency_stop"]
    assert pad.set(B, LB) == []
    assert pad.set(Y, LB, a7=1.0) == ["mark_success"]
    pad.set(LB, A)
    pad.set(LB, A)
    assert pad.command().opening == 0.0
    pad.set(LB)
    pad.set(LB, A)
    assert pad.command().opening == MAX_GRIPPER_WIDTH


def test_fine_while_held() -> None:
    pad = Pad()
    pad.set(LB, RB, a1=1.0)
    assert np.isclose(pad.command().velocity[0], 0.05)
    pad.set(LB, a1=1.0)
    assert np.isclose(pad.command().velocity[0], 0.25)


def test_experts_by_the_cross_and_blends_while_held() -> None:
    pad = Pad(WEIGHTS)
    pad.set(LB)
    assert pad.command() is None
    pad.set(LB, a6=-1.0)
    assert pad.command().weights[SKILLS[0]] == 1.0
    pad.set(LB)
    pad.set(LB, X, a6=-1.0)
    assert (pad.command().weights[SKILLS[0]], pad.command().weights[SKILLS[1]]) == (0.5, 0.5)
    pad.set(X)
    assert pad.command() is None


def test_another_device_is_told_apart() -> None:
    pad = Pad()
    pad.set(LB, a1=1.0)
    with pytest.raises(TeleoperationError, match="2 axes and 2 buttons"):
        pad.gamepad.update(pad.now, [0.0] * 2, [0] * 2)
    assert pad.command() is None
    with pytest.raises(TeleoperationError, match="not finite"):
        pad.set(LB, a1=float("nan"))
    assert pad.command() is None
