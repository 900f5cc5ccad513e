"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is: a fault must be mended before the arm moves."""

    OK = 0
    WARNING = 1
    FAULT = 2


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        level: how bad it is.
        subject: what was looked at.
        text: what is so.
        advice: what to do about it; empty where nothing is to be done.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, advice: str = "") -> Finding:
    """It works, but look at it."""
    return Finding(Level.WARNING, subject, text, advice)


def fault(subject: str, text: str, advice: str = "") -> Finding:
    """It does not work, or is not safe."""
    return Finding(Level.FAULT, subject, text, advice)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level; OK where there are no findings."""
    return max((finding.level for finding in findings), default=Level.OK)
