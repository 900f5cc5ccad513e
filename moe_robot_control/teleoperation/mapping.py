"""Which key, button or axis does what: YAML files in `config/teleop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moe_robot_control.share import share_path
from moe_robot_control.teleoperation.controls import (
    DIRECTIONS,
    REQUESTS,
    SETTINGS,
    TeleoperationError,
)

ACTIONS: tuple[str, ...] = (*SETTINGS, *REQUESTS)
HELD: tuple[str, ...] = ("fine", "blend")
"""Of a gamepad, also these: modes as long as a button is held."""
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Switch:
    """A button, or an axis beyond a threshold.

    Attributes:
        index: of the button or the axis.
        threshold: of the axis, on while the value is beyond it, away from zero; None: a button.
    """

    index: int
    threshold: float | None = None

    def is_on(self, axes: Sequence[float], buttons: Sequence[int]) -> bool:
        """Whether it is pressed.

        Raises:
            IndexError: there is no such button or axis.
        """
        if self.threshold is None:
            return bool(buttons[self.index])
        value = axes[self.index]
        return value >= self.threshold if self.threshold > 0 else value <= self.threshold


@dataclass(frozen=True)
class Axis:
    """An analogue axis, and what its value is multiplied by."""

    index: int
    scale: float = 1.0


@dataclass(frozen=True)
class GamepadMapping:
    """Of a gamepad or a SpaceMouse, as `sensor_msgs/Joy` numbers axes and buttons.

    Attributes:
        deadman: nothing moves unless it is held.
        motion: axes of the end effector's velocity by `x`, `y`, `z` of the base frame.
        actions: what does each action, out of `ACTIONS` and `HELD`.
        deadzone: values nearer to zero are zero.
    """

    deadman: Switch
    motion: dict[str, Axis]
    actions: dict[str, Switch]
    deadzone: float = 0.1

    @classmethod
    def load(cls, name_or_path: str | Path) -> GamepadMapping:
        """Read a mapping by the name of a file in `config/teleop`, or by a path.

        Raises:
            TeleoperationError: missing or malformed; the message names file and entry.
        """
        path, tree = _read(name_or_path)
        entries = _Entries(path, tree, ("deadman", "motion", "actions", "deadzone"))
        deadzone = entries.number("deadzone", tree.get("deadzone", 0.1), 0.0, 0.9)
        motion = {
            name: entries.axis(f"motion.{name}", value)
            for name, value in entries.part("motion", _AXES).items()
        }
        actions = {
            name: entries.switch(f"actions.{name}", value)
            for name, value in entries.part("actions", (*ACTIONS, *HELD)).items()
        }
        if "deadman" not in tree:
            raise TeleoperationError(f"{path}: deadman is missing: nothing may move without it")
        return cls(entries.switch("deadman", tree["deadman"]), motion, actions, deadzone)


def load_keys(name_or_path: str | Path) -> dict[str, str]:
    """A keyboard's mapping: action or direction by the key's name.

    Raises:
        TeleoperationError: missing or malformed; the message names file and entry.
    """
    path, tree = _read(name_or_path)
    entries = _Entries(path, tree, ("keys",))
    known = (*DIRECTIONS, *ACTIONS, "keep")
    for key, action in (keys := entries.part("keys")).items():
        if action not in known:
            raise TeleoperationError(
                f"{path}: keys.{key}: unknown action {action!r}: expected one of {', '.join(known)}"
            )
    # YAML reads 1 as a number and n as a text
    return {str(key): action for key, action in keys.items()}


def _read(name_or_path: str | Path) -> tuple[Path, dict[str, Any]]:
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        folder = share_path("config/teleop")
        path = folder / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise TeleoperationError(
                f"unknown mapping {str(name_or_path)!r}: expected one of {known}, or a YAML file"
            )
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise TeleoperationError(f"{path}: cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise TeleoperationError(f"{path}: malformed YAML at line {line}") from error
    if not isinstance(tree, dict):
        raise TeleoperationError(f"{path}: not a mapping")
    return path, tree


class _Entries:
    """Checked access to a file's entries."""

    def __init__(self, path: Path, tree: Mapping[str, Any], known: Sequence[str]) -> None:
        self._path, self._tree = path, tree
        self._expect(tree, known, "")

    def _expect(self, part: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        for name in part:
            if name not in known:
                raise TeleoperationError(
                    f"{self._path}: unknown entry {where}{name}: expected one of {', '.join(known)}"
                )

    def part(self, name: str, known: Sequence[str] = ()) -> dict[str, Any]:
        """A part of the file, empty where it is missing."""
        part = self._tree.get(name, {})
        if not isinstance(part, dict):
            raise TeleoperationError(f"{self._path}: {name}: expected entries, not {part!r}")
        if known:
            self._expect(part, known, f"{name}.")
        return part

    def number(self, name: str, value: Any, low: float, high: float) -> float:
        """A number in a range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TeleoperationError(f"{self._path}: {name}: expected a number, not {value!r}")
        if not low <= value <= high:
            raise TeleoperationError(f"{self._path}: {name}: {value}: expected {low} to {high}")
        return float(value)

    def axis(self, name: str, value: Any) -> Axis:
        """As `{axis: 1}` or `{axis: 1, scale: -1.0}`."""
        parts = self._parts(name, value, ("axis", "scale"))
        if "axis" not in parts:
            raise TeleoperationError(f"{self._path}: {name}: axis is missing")
        scale = self.number(f"{name}.scale", parts.get("scale", 1.0), -10.0, 10.0)
        return Axis(self._index(name, parts["axis"]), scale)

    def switch(self, name: str, value: Any) -> Switch:
        """As `{button: 4}` or `{axis: 7, beyond: -0.5}`."""
        parts = self._parts(name, value, ("button", "axis", "beyond"))
        if "button" in parts and len(parts) == 1:
            return Switch(self._index(name, parts["button"]))
        if set(parts) != {"axis", "beyond"}:
            raise TeleoperationError(
                f"{self._path}: {name}: expected {{button: N}} or {{axis: N, beyond: VALUE}}"
            )
        beyond = self.number(f"{name}.beyond", parts["beyond"], -1.0, 1.0)
        if beyond == 0.0:
            raise TeleoperationError(f"{self._path}: {name}.beyond: zero is the axis at rest")
        return Switch(self._index(name, parts["axis"]), beyond)

    def _parts(self, name: str, value: Any, known: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise TeleoperationError(f"{self._path}: {name}: expected entries, not {value!r}")
        self._expect(value, known, f"{name}.")
        return value

    def _index(self, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise TeleoperationError(
                f"{self._path}: {name}: expected a number from 0 on, not {value!r}"
            )
        return value
