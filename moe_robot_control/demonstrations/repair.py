"""Makes damaged and cut-off episodes whole again, as far as they are; the original is kept."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from moe_robot_control.demonstrations.bag import EpisodeError, find_bag, read_bag, write_bag

DAMAGED = ".damaged"
"""Suffix of the original beside the repaired file; no reader takes it for an episode."""
LIVE = 3.0
"""A file written to within this time is perhaps still being recorded [s]."""


@dataclass(frozen=True)
class Repair:
    """What was done to an episode.

    Attributes:
        path: of its MCAP file.
        damage: what was wrong; empty: nothing.
        messages: kept.
        original: where the damaged file is now; None: nothing was changed.
    """

    path: Path
    damage: tuple[str, ...]
    messages: int
    original: Path | None


def repair_episode(path: str | Path, force: bool = False) -> Repair:
    """Write an episode's file anew with all messages that are whole.

    Args:
        path: of its folder or file.
        force: even if it was written to just now.

    Raises:
        EpisodeError: nothing in it is whole, it is being recorded, or it cannot be written.
    """
    path = find_bag(path)
    bag = read_bag(path)
    damage = list(bag.damage)
    if not (path.parent / "metadata.yaml").is_file():
        damage.append("no metadata.yaml")
    if not damage:
        return Repair(path, (), len(bag.messages), None)
    if not bag.messages:
        raise EpisodeError(f"{path}: no message in it is whole: {'; '.join(damage)}")
    if not force and time.time() - path.stat().st_mtime < LIVE:
        raise EpisodeError(f"{path}: is perhaps still being recorded; --force repairs it anyway")
    try:
        original = _keep_original(path)
        facts = {"repaired": "; ".join(damage), "success": bag.metadata.get("success", "unknown")}
        write_bag(path, bag.messages, bag.schemas, bag.metadata | facts)
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be repaired: {error.strerror}") from error
    return Repair(path, tuple(damage), len(bag.messages), original)


def _keep_original(path: Path) -> Path:
    """A second name for the file, so that there is one at every moment."""
    number = 0
    while (target := path.with_name(f"{path.name}{DAMAGED}{number or ''}")).exists():
        number += 1
    try:
        os.link(path, target)
    except OSError:  # a file system without links
        shutil.copy2(path, target)
    return target
