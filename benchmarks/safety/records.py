"""What is noted of the messages of a running graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STILL = 1e-4
"""A commanded joint velocity below this is none [rad/s]."""
RESTING = 0.03
"""A measured one, with its noise [rad/s]."""


@dataclass(frozen=True)
class Command:
    """What the commander sent: when [ns, wall clock], and the largest joint velocity [rad/s]."""

    sent: int
    speed: float

    @property
    def moves(self) -> bool:
        """Whether it is a motion."""
        return self.speed > STILL


@dataclass(frozen=True)
class Heard:
    """A message: when it was sent, the stamp that it carries [ns], and its frame."""

    sent: int
    stamp: int
    frame: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What the commander says of itself."""

    heard: int
    level: int
    message: str
    values: dict[str, str]


def first_run(commands: Sequence[Command], since: int, moving: bool, count: int) -> int | None:
    """When the first of `count` commands in a row after `since`, all moving or none, was sent."""
    run = 0
    start = 0
    for command in commands:
        if command.sent < since:
            continue
        run = run + 1 if command.moves == moving else 0
        if run == 1:
            start = command.sent
        if run == count:
            return start
    return None
