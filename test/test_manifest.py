"""Manifests belong to exactly one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from moe_robot_control.manifest import (
    ManifestError,
    manifest_path,
    read_manifest,
    sha256_of,
    verify_manifest,
    write_manifest,
)

ROOT = Path(__file__).resolve().parent.parent
TRAINED = sorted((ROOT / "models").rglob("*.onnx"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "expert.onnx"
    path.write_bytes(b"weights")
    return path


def test_round_trip(model: Path) -> None:
    path = write_manifest(model, "train", 3, "ab" * 32, {"loss": 0.5})
    assert path == model.with_suffix(".json")
    manifest = verify_manifest(model)
    assert manifest == read_manifest(model)
    assert manifest["seed"] == 3
    assert manifest["metrics"] == {"loss": 0.5}
    assert manifest["onnx_sha256"] == sha256_of(model)
    assert {"command", "commit", "data_sha256", "created", "versions"} <= set(manifest)


def test_another_file_is_refused(model: Path) -> None:
    write_manifest(model, "train", 3, "ab" * 32, {})
    model.write_bytes(b"other weights")
    with pytest.raises(ManifestError, match=r"expert\.onnx"):
        verify_manifest(model)


def test_missing_and_malformed(model: Path) -> None:
    with pytest.raises(ManifestError, match=r"expert\.json"):
        read_manifest(model)
    manifest_path(model).write_text("{")
    with pytest.raises(ManifestError, match="not JSON"):
        read_manifest(model)


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_committed_models_are_what_their_manifests_say(path: Path) -> None:
    verify_manifest(path)
