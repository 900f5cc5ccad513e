"""What made a trained file: a JSON manifest beside it."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from moe_robot_control.errors import MoeRobotControlError

PACKAGES = ("torch", "numpy", "mujoco", "onnx", "onnxruntime")


class ManifestError(MoeRobotControlError):
    """A manifest is missing, malformed, or does not belong to its file."""


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def manifest_path(model_path: str | Path) -> Path:
    """Where the manifest of a trained file is."""
    return Path(model_path).with_suffix(".json")


def write_manifest(
    model_path: str | Path,
    command: str,
    seed: int,
    data_sha256: str,
    metrics: dict[str, Any],
) -> Path:
    """Write the manifest of a trained file.

    Args:
        model_path: the file, already written.
        command: the command line that trained it.
        seed: of all its randomness.
        data_sha256: hash of what it was trained on.
        metrics: figures measured by the training.
    """
    run = describe_run(command)
    entries = {
        "command": run.pop("command"),
        "seed": seed,
        "commit": run.pop("commit"),
        "data_sha256": data_sha256,
        "onnx_sha256": sha256_of(model_path),
        "metrics": metrics,
        **run,
    }
    path = manifest_path(model_path)
    path.write_text(json.dumps(entries, indent=2) + "\n")
    return path


def describe_run(command: str) -> dict[str, Any]:
    """Command line, commit, time and versions: what made a file of results."""
    return {
        "command": command,
        "commit": _commit(Path(__file__).parent),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def read_manifest(model_path: str | Path) -> dict[str, Any]:
    """The manifest of a trained file.

    Raises:
        ManifestError: there is none, or it is not JSON.
    """
    path = manifest_path(model_path)
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}: not JSON: {error}") from error


def verify_manifest(model_path: str | Path) -> dict[str, Any]:
    """The manifest, after checking that the file is the one it describes.

    Raises:
        ManifestError: no manifest, or the file's hash is another.
    """
    manifest = read_manifest(model_path)
    if manifest.get("onnx_sha256") != sha256_of(model_path):
        raise ManifestError(f"{model_path}: is not the file that its manifest describes")
    return manifest


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # what training writes is not what it was made by
        others = [f":(top,exclude){folder}" for folder in ("models", "data", "docs")]
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *others)
        dirty = "+dirty" if changed else ""
        return git("rev-parse", "HEAD") + dirty
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
