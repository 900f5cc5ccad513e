"""Mappings: the package's own, and what is wrong in others."""

from __future__ import annotations

from pathlib import Path

import pytest

from moe_robot_control.share import share_path
from moe_robot_control.teleoperation.controls import TeleoperationError
from moe_robot_control.teleoperation.mapping import Axis, GamepadMapping, Switch, load_keys

GOOD = "deadman: {button: 4}\n"


def test_the_packages_own() -> None:
    gamepad = GamepadMapping.load("gamepad")
    assert gamepad.deadman == Switch(4)
    assert gamepad.motion["z"] == Axis(4)
    assert gamepad.actions["slower"] == Switch(7, -0.5)
    spacemouse = GamepadMapping.load("spacemouse")
    assert set(spacemouse.motion) == {"x", "y", "z"}
    keys = load_keys("keyboard")
    assert keys["w"] == "forward" and keys["1"] == "expert_1" and keys["n"] == "mark_failure"
    assert load_keys(share_path("config/teleop/keyboard.yaml")) == keys


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("motion: {}", "deadman is missing"),
        (GOOD + "dance: 1", "unknown entry dance"),
        (GOOD + "motion: {w: {axis: 1}}", "unknown entry motion.w"),
        (GOOD + "motion: {x: 1}", "motion.x: expected entries, not 1"),
        (GOOD + "motion: {x: {scale: 1}}", "motion.x: axis is missing"),
        (GOOD + "motion: {x: {axis: -1}}", "motion.x: expected a number from 0"),
        (GOOD + "motion: {x: {axis: 1, scale: much}}", "motion.x.scale: expected a number"),
        (GOOD + "motion: {x: {axis: 1, scale: .nan}}", "motion.x.scale: nan"),
        (GOOD + "actions: {dance: {button: 1}}", "unknown entry actions.dance"),
        (GOOD + "actions: {start: {axis: 1}}", "actions.start: expected {button: N}"),
        (GOOD + "actions: {start: {axis: 1, beyond: 0}}", "actions.start.beyond: zero"),
        (GOOD + "actions: {start: {button: true}}", "actions.start: expected a number"),
        (GOOD + "deadzone: 1.5", "deadzone: 1.5: expected 0.0 to 0.9"),
        ("deadman: [", "malformed YAML at line"),
        ("just text", "not a mapping"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(TeleoperationError) as raised:
        GamepadMapping.load(path)
    assert str(path) in str(raised.value) and words in str(raised.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(TeleoperationError, match=r"'wheel': expected one of gamepad, keyboard"):
        GamepadMapping.load("wheel")
    with pytest.raises(TeleoperationError, match=r"none.yaml: cannot be read: No such file"):
        GamepadMapping.load(tmp_path / "none.yaml")
    (tmp_path / "keys.yaml").write_text("keys: {w: dance}")
    with pytest.raises(TeleoperationError, match=r"keys.w: unknown action 'dance'"):
        load_keys(tmp_path / "keys.yaml")
    with pytest.raises(TeleoperationError, match="unknown entry deadman"):
        load_keys("gamepad")
