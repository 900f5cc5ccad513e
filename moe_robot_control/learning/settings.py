"""Hyper-parameters from YAML files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from moe_robot_control.errors import MoeRobotControlError

SettingsT = TypeVar("SettingsT")


class TrainingError(MoeRobotControlError):
    """Demonstrations or settings that cannot be trained from."""


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        TrainingError: unreadable or malformed.
    """
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise TrainingError(f"{path}: malformed YAML") from error


def load_settings(kind: type[SettingsT], path: Path) -> SettingsT:
    """Read a dataclass from a YAML file that has exactly its fields as keys.

    Raises:
        TrainingError: unreadable or malformed, or a key is unknown or missing; the message
            names it.
    """
    tree = read_yaml(path)
    names = {field.name for field in fields(kind)}
    keys = set(tree) if isinstance(tree, dict) else set()
    if keys != names:
        raise TrainingError(f"{path}: unknown or missing key {min(map(str, keys ^ names))!r}")
    return kind(**tree)
