"""Hyper-parameters from YAML files."""

from __future__ import annotations

from collections.abc import Mapping
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


def read_layers(path: Path, layers: set[str]) -> dict[str, dict[str, Any]]:
    """Read a YAML file of settings in layers: `defaults`, and others of which each maps names to
    the values that override those.

    Args:
        path: of the file.
        layers: that it may have; one that it lacks comes back empty.

    Raises:
        TrainingError: unreadable or malformed.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict) or not layers >= tree.keys():
        raise TrainingError(f"{path}: expected the keys {', '.join(sorted(layers))}")
    for key, layer in tree.items():
        inner = [] if key == "defaults" or not isinstance(layer, dict) else layer.values()
        if not all(isinstance(part, dict) for part in (layer, *inner)):
            raise TrainingError(f"{path}: {key} must map names to values")
    return {layer: {} for layer in layers} | tree


def check_ranges(path: Path, ranges: Mapping[str, tuple[float, float, float]]) -> None:
    """Check values against their inclusive ranges: name to (value, low, high).

    Raises:
        TrainingError: one is outside; the message names it.
    """
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise TrainingError(f"{path}: {name} is out of range: {value!r}")


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


def take_prefixed(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Remove the keys that begin with `prefix` from `values`; they come back without it."""
    found = {key: values.pop(key) for key in list(values) if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in found.items()}


def build_checked(
    kind: type[SettingsT], values: dict[str, Any], path: Path, prefix: str = ""
) -> SettingsT:
    """A dataclass from values that must be exactly its fields, each of the field's kind.

    Raises:
        TrainingError: an unknown or missing key or a value of the wrong kind; the message names
            the file, and the key with its prefix.
    """
    names = {field.name for field in fields(kind)}
    if values.keys() != names:
        wrong = min(map(str, values.keys() ^ names))
        raise TrainingError(f"{path}: unknown or missing key '{prefix}{wrong}'")
    for field in fields(kind):
        value = values[field.name]
        wanted = {"int": int, "float": (int, float), "bool": bool, "str": str}.get(str(field.type))
        wrong = wanted and not isinstance(value, wanted)
        if wrong or (wanted is not bool and isinstance(value, bool)):
            raise TrainingError(f"{path}: {prefix}{field.name} must be {field.type}, not {value!r}")
    return kind(**values)
