"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_robot_control.demonstrations.bag import EpisodeError


@contextmanager
def written_as_a_whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write a file or folder to; it becomes the target at the end.

    Raises:
        EpisodeError: the target exists, or cannot be written. Nothing is left then, nor after any
            other error.
    """
    if target.exists():
        raise EpisodeError(f"{target}: exists already")
    unfinished = target.with_name(f".{target.name}.unfinished")
    _remove(unfinished)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.rename(target)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise EpisodeError(f"{target}: cannot be written: {reason}") from error
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
