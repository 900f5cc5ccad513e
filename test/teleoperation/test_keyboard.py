"""Keys that are held, struck, unknown; what terminals send; real pseudo-terminals and pipes."""

from __future__ import annotations

import os
import pty
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.teleoperation.controls import MOTION, WEIGHTS, Controls, TeleoperationError
from moe_robot_control.teleoperation.devices import Joystick, Terminal
from moe_robot_control.teleoperation.keyboard import GATE_HOLD, HOLD, Keyboard, decode_keys
from moe_robot_control.teleoperation.mapping import load_keys

KEYS = load_keys("keyboard")


def keyboard(demonstrated: str = MOTION) -> Keyboard:
    return Keyboard(KEYS, Controls(demonstrated, speed=5))


def test_a_held_key_moves_and_a_released_one_stops() -> None:
    keys = keyboard()
    assert keys.command(0.0) is None
    for i in range(10):
        keys.press(0.03 * i, "w")
        assert np.allclose(keys.command(0.03 * i).velocity, [0.25, 0.0, 0.0])
    assert keys.command(0.27 + HOLD - 0.01) is not None
    assert keys.command(0.27 + HOLD + 0.01) is None


def test_two_keys_add_up_and_opposite_ones_cancel() -> None:
    keys = keyboard()
    keys.press(0.0, "w")
    keys.press(0.01, "arrow_left")
    assert np.allclose(keys.command(0.02).velocity, [0.25, 0.25, 0.0])
    keys.press(0.02, "s")
    assert np.allclose(keys.command(0.03).velocity, [0.0, 0.25, 0.0])


@pytest.mark.parametrize("key", ["space", "x", "unknown", "escape", "y"])
def test_any_other_key_stops(key: str) -> None:
    keys = keyboard()
    keys.press(0.0, "w")
    asked = keys.press(0.01, key)
    assert keys.command(0.02) is None
    assert asked == {"escape": "emergency_stop", "y": "mark_success"}.get(key)


def test_the_gripper_is_commanded_without_motion() -> None:
    keys = keyboard()
    keys.press(0.0, "g")
    command = keys.command(0.01)
    assert command.opening == 0.0 and not command.velocity.any()
    assert keys.command(HOLD + 0.01) is None


def test_settings_move_nothing() -> None:
    keys = keyboard()
    for key in ("+", "-", "v", "b", "1"):
        keys.press(0.0, key)
        assert keys.command(0.0) is None


def test_experts_are_active_while_their_keys_are_held() -> None:
    keys = keyboard(WEIGHTS)
    keys.press(0.0, "w")
    assert keys.command(0.01) is None
    keys.press(0.0, "3")
    assert keys.command(GATE_HOLD - 0.01).weights[SKILLS[2]] == 1.0
    assert keys.command(GATE_HOLD + 0.01) is None
    for key in ("b", "1", "k"):
        keys.press(1.0, key)
    weights = keys.command(1.1).weights
    assert (weights[SKILLS[0]], weights[SKILLS[2]]) == (0.5, 0.5)
    keys.press(1.1, "space")
    assert keys.command(1.1) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("w", ["w"]),
        ("wwa", ["w", "w", "a"]),
        ("\x1b[A\x1bOB", ["arrow_up", "arrow_down"]),
        ("\x1b[5~g\x1b[6~", ["page_up", "g", "page_down"]),
        ("\x1b", ["escape"]),
        ("\x1b\x1b", ["escape", "escape"]),
        (" \r\t\x7f", ["space", "enter", "tab", "backspace"]),
        ("\x1b[1;5Cw", ["unknown", "w"]),
        ("\x1b[15~", ["unknown"]),
        ("\x1b[", ["unknown"]),
        ("", []),
    ],
)
def test_what_terminals_send(text: str, names: list[str]) -> None:
    assert decode_keys(text) == names


@pytest.fixture
def terminal() -> Iterator[tuple[int, Terminal]]:
    """The operator's end of a pseudo-terminal, and ours."""
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "r") as stream:
        yield theirs, Terminal(stream)
    os.close(theirs)


def test_a_terminal_gives_keys_at_once_and_is_restored(terminal: tuple[int, Terminal]) -> None:
    theirs, ours = terminal
    before = termios.tcgetattr(theirs)
    with ours:
        assert ours.read() == []
        os.write(theirs, b"w\x1b[C")
        found: list[str] = []
        while len(found) < 2:
            found += ours.read()
        assert found == ["w", "arrow_right"]
        assert not ours.ended
        assert termios.tcgetattr(theirs)[3] & termios.ISIG  # Ctrl-C stays an interrupt
        assert not termios.tcgetattr(theirs)[3] & termios.ECHO
    assert termios.tcgetattr(theirs) == before


def test_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as stream, pytest.raises(TeleoperationError, match="terminal"):
        Terminal(stream)


def test_a_joystick_as_the_kernel_tells_of_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "js0")
    joystick = Joystick(tmp_path / "js0")
    events = os.open(tmp_path / "js0", os.O_WRONLY)
    initial = 0x80
    for kind, number, value in (
        (1 | initial, 0, 0),
        (1 | initial, 1, 0),
        (2 | initial, 0, 0),
        (2, 3, -32767),
        (2, 0, 32767),
        (1, 1, 1),
    ):
        whole = struct.pack("IhBB", 0, value, kind, number)
        os.write(events, whole[:3])
        assert joystick.read()
        os.write(events, whole[3:])
        assert joystick.read()
    assert joystick.axes == [-1.0, 0.0, 0.0, 1.0]
    assert joystick.buttons == [0, 1]
    os.close(events)
    assert not joystick.read()  # unplugged
    joystick.close()
    with pytest.raises(TeleoperationError, match=r"js7: cannot be opened: No such file"):
        Joystick(tmp_path / "js7")
