"""The commands of a page, checked: what arrives from a network is not to be trusted.

A command is a JSON object such as `{"do": "set_mode", "mode": "teleop"}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moe_robot_control.console.robot import Wish
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS

MODES: tuple[str, ...] = ("policy", "teleop", "idle")
RECORD_ACTIONS: tuple[str, ...] = ("start", "stop", "discard", "success", "failure")
FINE = 0.2
"""Share of the speed in fine mode."""
MAX_TEXT = 64
"""Longest name that somebody may type."""
_MAX_SEED = 2**31 - 1


class CommandError(MoeRobotControlError):
    """A command that is refused; the message says why, for the operator."""


@dataclass(frozen=True)
class Drive:
    """Where an operator who holds the deadman steers.

    Attributes:
        axes: along x, y, z of the base frame, -1 to 1; None: the experts are weighed instead.
        speed: share of the largest speed, 0 to 1.
        gripper: share of the largest opening, 0 to 1; None leaves it as it is.
        experts: those that are to act, with equal weights.
        seen: the newest `now` that the page had received [s].
    """

    axes: tuple[float, float, float] | None
    speed: float
    gripper: float | None
    experts: tuple[str, ...]
    seen: float

    def wish(self, max_speed: float, max_opening: float) -> Wish:
        """In the robot's units; diagonals are no faster than straight lines."""
        velocity = None
        if self.axes is not None:
            length = math.hypot(*self.axes)
            scale = max_speed * self.speed / max(length, 1.0)
            x, y, z = (scale * axis for axis in self.axes)
            velocity = x, y, z
        return Wish(
            velocity,
            None if self.gripper is None else max_opening * self.gripper,
            dict.fromkeys(self.experts, 1.0 / max(len(self.experts), 1)),
        )


@dataclass(frozen=True)
class Start:
    """The episode to begin: a scenario, a skill, or, where both are None, what was begun last."""

    scenario: int | None
    skill: str | None
    seed: int


@dataclass(frozen=True)
class Record:
    """One of `RECORD_ACTIONS`; `details` (skill, operator) belong to `start`."""

    action: str
    details: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> dict[str, Any]:
    """The command in a message.

    Raises:
        CommandError: not a JSON object with a text `do`.
    """
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandError("not JSON") from None
    if not isinstance(command, dict) or not isinstance(command.get("do"), str):
        raise CommandError('expected an object {"do": "...", ...}')
    return command


def drive(command: Mapping[str, Any], experts: Sequence[str]) -> Drive:
    """Read `{"do": "drive"}`."""
    axes: tuple[float, float, float] | None = None
    chosen: tuple[str, ...] = ()
    if command.get("experts") is not None:
        chosen = _names(command["experts"], experts)
    else:
        given = command.get("axes")
        if not isinstance(given, list) or len(given) != 3:
            raise CommandError("axes: expected 3 numbers")
        x, y, z = (_number("axes", axis, -1.0, 1.0) for axis in given)
        axes = x, y, z
    speed = _number("speed", command.get("speed", 1.0), 0.0, 1.0)
    if _flag("fine", command.get("fine", False)):
        speed *= FINE
    gripper = command.get("gripper")
    return Drive(
        axes=axes,
        speed=speed,
        gripper=None if gripper is None else _number("gripper", gripper, 0.0, 1.0),
        experts=chosen,
        seen=_number("seen", command.get("seen"), -math.inf, math.inf),
    )


def mode(command: Mapping[str, Any]) -> str:
    """Read `{"do": "set_mode"}`."""
    return _choice("mode", command.get("mode"), MODES)


def start(command: Mapping[str, Any]) -> Start:
    """Read `{"do": "start_episode"}`."""
    seed = _integer("seed", command.get("seed", 0), 0, _MAX_SEED)
    skill = command.get("skill")
    if skill:
        return Start(None, _choice("skill", skill, SKILLS), seed)
    scenario = command.get("scenario")
    if scenario is not None:
        scenario = _integer("scenario", scenario, 1, NUM_SCENARIOS)
    return Start(scenario, None, seed)


def record(command: Mapping[str, Any]) -> Record:
    """Read `{"do": "record"}`."""
    action = _choice("action", command.get("action"), RECORD_ACTIONS)
    details = {name: text(name, command[name]) for name in ("skill", "operator") if name in command}
    if details.get("skill"):
        _choice("skill", details["skill"], SKILLS)
    return Record(action, details if action == "start" else {})


def text(what: str, value: Any) -> str:
    """A short text on one line, without white space around it."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise CommandError(f"{what}: expected at most {MAX_TEXT} printable characters")
    return value.strip()


def flag(command: Mapping[str, Any], name: str) -> bool:
    """The entry `name`, true or false."""
    return _flag(name, command.get(name))


def number(command: Mapping[str, Any], name: str) -> float:
    """The entry `name`, any finite number."""
    return _number(name, command.get(name), -math.inf, math.inf)


def _names(value: Any, known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise CommandError("experts: expected a list of one or more names")
    return tuple(dict.fromkeys(_choice("experts", name, known) for name in value))


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise CommandError(f"{what}: expected true or false")
    return value


def _number(what: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandError(f"{what}: expected a number")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or not low <= value <= high:
        raise CommandError(f"{what}: expected a number from {low:g} to {high:g}")
    return value


def _integer(what: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise CommandError(f"{what}: expected a whole number from {low} to {high}")
    return value


def _choice(what: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise CommandError(f"{what}: expected one of {', '.join(choices)}")
    return str(value)
