"""Checkpoints of trainings, that an interruption leaves whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from moe_robot_control.learning.settings import TrainingError

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: Path, about: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint in place of the one before, all or nothing.

    Args:
        path: of the file; missing folders are made.
        about: what tells this training from others.
        state: of the training, with other keys.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    torch.save(about | state, unfinished)
    unfinished.replace(path)


def load_checkpoint(path: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none, or one of another training.

    Raises:
        TrainingError: unreadable.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # PyTorch raises many kinds
        raise TrainingError(f"{path}: not a readable checkpoint; delete it") from error
    if any(state.get(key) != value for key, value in about.items()):
        return None
    return state
