"""Merges and splits data sets, and cuts recordings into episodes; sources stay as they are."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moe_robot_control.demonstrations.bag import Bag, EpisodeError, Message, read_bag, write_bag
from moe_robot_control.demonstrations.checks import fingerprint
from moe_robot_control.demonstrations.episode import episode_files, read_episode
from moe_robot_control.demonstrations.recording import SET_BACK
from moe_robot_control.demonstrations.unfinished import written_as_a_whole


@dataclass
class Merge:
    """What a merge did.

    Attributes:
        copied: folders written.
        duplicates: files left out, and the files in the target whose content they repeat.
    """

    copied: list[Path] = field(default_factory=list)
    duplicates: list[tuple[Path, Path]] = field(default_factory=list)


def merge_sets(sources: Sequence[Path], target: Path) -> Merge:
    """Copy the episodes of data sets into one, each content once.

    Args:
        sources: folders of data sets; their sub-folders (skills) are kept.
        target: folder; may hold episodes already.

    Raises:
        EpisodeError: a source holds no episodes, an episode cannot be read, or different
            episodes have one name.
    """
    merge = Merge()
    known = {fingerprint(read_episode(path)): path for path in episode_files(target)}
    for source in sources:
        files = episode_files(source)
        if not files:
            raise EpisodeError(f"{source}: no episodes (*.mcap) there")
        for path in files:
            content = fingerprint(read_episode(path))
            if content in known:
                merge.duplicates.append((path, known[content]))
                continue
            folder = target / _relative(path.parent, source)
            _copy(path.parent, folder)
            known[content] = folder / path.name
            merge.copied.append(folder)
    return merge


def split_set(
    source: Path, target: Path, fraction: float, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """Copy a data set into `target/train` and `target/validation`.

    Args:
        source: folder of the data set.
        target: folder; must not exist.
        fraction: of the episodes of each sub-folder (skill) for validation, at least one and
            not all.
        seed: chooses which.

    Returns:
        The folders written for training and for validation.

    Raises:
        EpisodeError: a fraction that is not between 0 and 1, no episodes or only one in a
            sub-folder, or the target exists.
    """
    if not 0.0 < fraction < 1.0:
        raise EpisodeError(f"fraction {fraction:g}: expected more than 0 and less than 1")
    if target.exists():
        raise EpisodeError(f"{target}: exists already")
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in episode_files(source):
        groups[_relative(path.parent, source).parent].append(path.parent)
    if not groups:
        raise EpisodeError(f"{source}: no episodes (*.mcap) there")
    parts: tuple[list[Path], list[Path]] = [], []
    rng = np.random.default_rng(seed)
    for group, folders in groups.items():
        if len(folders) < 2:
            raise EpisodeError(f"{source / group}: a single episode cannot be split")
        count = min(max(round(fraction * len(folders)), 1), len(folders) - 1)
        chosen = set(rng.permutation(len(folders))[:count].tolist())
        for index, folder in enumerate(folders):
            parts[index in chosen].append(folder)
    written: tuple[list[Path], list[Path]] = [], []
    for part, name, done in zip(parts, ("train", "validation"), written, strict=True):
        for folder in part:
            done.append(target / name / _relative(folder, source))
            _copy(folder, done[-1])
    return written


def cut_recording(path: Path, target: Path, times: Sequence[float] = ()) -> list[Path]:
    """Cut one recording into episodes `<name>_0`, `<name>_1`, ...

    Every message is in exactly one of them.

    Args:
        path: of the episode's folder or file.
        target: folder of the new episodes.
        times: where to cut, from its beginning [s]; none: where time is set back.

    Returns:
        The folders written.

    Raises:
        EpisodeError: it cannot be read, or there is nothing to cut.
    """
    bag = read_bag(path)
    if not bag.messages:
        raise EpisodeError(f"{bag.path}: no message in it is whole")
    begin = min(message.log_time for message in bag.messages)
    end = max(message.log_time for message in bag.messages)
    cuts = [begin + round(1e9 * time) for time in sorted(times)] or _set_backs(bag)
    if not cuts:
        raise EpisodeError(f"{bag.path}: time is never set back: tell by --at where to cut")
    if not begin < cuts[0] <= cuts[-1] <= end:
        seconds = (end - begin) * 1e-9
        raise EpisodeError(f"{bag.path}: it lasts {seconds:.1f} s: there is nothing to cut there")
    parts: list[list[Message]] = [[] for _ in range(len(cuts) + 1)]
    for message in bag.messages:
        parts[int(np.searchsorted(cuts, message.log_time, side="right"))].append(message)
    written = []
    for number, part in enumerate(parts):
        folder = target / f"{bag.path.parent.name}_{number}"
        _make(folder)
        facts = bag.metadata | {"cut_from": bag.path.parent.name}
        if number < len(parts) - 1:
            facts["success"] = "unknown"  # what is told is told of the end
        write_bag(folder / f"{folder.name}_0.mcap", part, bag.schemas, facts)
        written.append(folder)
    return written


def _set_backs(bag: Bag) -> list[int]:
    """Log times [ns] of the joint states by which time is set back."""
    found: list[int] = []
    newest: int | None = None
    for message in bag.messages:
        if message.topic.lstrip("/") != "joint_states":
            continue
        if newest is not None and message.publish_time < newest - SET_BACK * 1e9:
            found.append(message.log_time)
        newest = message.publish_time
    return found


def _relative(folder: Path, source: Path) -> Path:
    """A folder of an episode below its data set, or its own name where it is the source."""
    return (
        Path(folder.name)
        if not folder.is_relative_to(source) or folder == source
        else (folder.relative_to(source))
    )


def _copy(source: Path, target: Path) -> None:
    _make(target.parent, True)
    with written_as_a_whole(target) as unfinished:
        shutil.copytree(source, unfinished)


def _make(folder: Path, existing: bool = False) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=existing)
    except FileExistsError as error:
        raise EpisodeError(f"{folder}: exists already") from error
    except OSError as error:
        raise EpisodeError(f"{folder}: cannot be written: {error.strerror}") from error
