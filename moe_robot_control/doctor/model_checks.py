"""Whether the trained networks are there, load, and are those that their manifests describe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from moe_robot_control.doctor.findings import Finding, fault, ok, warning
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.manifest import ManifestError, manifest_path, verify_manifest
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.perception.estimator import PoseEstimator
from moe_robot_control.policies.runtime import (
    GATE_NAME,
    PolicyLoadError,
    load_expert,
    load_gate,
    load_shared,
)
from moe_robot_control.policies.spaces import (
    GATE_OBSERVATION_SIZE,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    expert_observation_size,
)

_MEND = "train it, or fetch the file again"


def check_models(directory: Path, perception: Path, shared: str = "") -> list[Finding]:
    """All networks that the graph loads.

    Args:
        directory: of the policies.
        perception: the pose network's file.
        shared: name of one network that serves all skills, instead of an expert each.
    """
    if not directory.is_dir():
        return [
            fault("policies", f"{directory}: no such folder", "give --model-directory"),
            _check(perception, "pose network", lambda: _see(perception)),
        ]
    if shared:
        size = SHARED_OBSERVATION_SIZE + len(SKILLS)
        path = directory / f"{shared}.onnx"
        found = [
            _check(path, f"policy {shared}", lambda: _ask(load_shared(directory, shared), size))
        ]
    else:
        found = [
            _check(
                directory / f"{skill}.onnx",
                f"expert {skill}",
                lambda skill=skill: _ask(
                    load_expert(skill, directory), expert_observation_size(skill)
                ),
            )
            for skill in SKILLS
        ]
    gate = directory / f"{GATE_NAME}.onnx"
    return [
        *found,
        _check(gate, "gate", lambda: _ask(load_gate(directory), GATE_OBSERVATION_SIZE)),
        _check(perception, "pose network", lambda: _see(perception)),
    ]


def _ask(policy: Callable[[np.ndarray], np.ndarray], inputs: int) -> None:
    policy(np.zeros(inputs))


def _see(path: Path) -> None:
    intrinsics = CameraIntrinsics.from_field_of_view(0.8, 64, 64)
    extrinsics = CameraExtrinsics(np.array([0.0, 0.0, 1.0]), np.diag([1.0, -1.0, -1.0]))
    estimator = PoseEstimator(path, {"test": Camera(intrinsics, extrinsics)})
    estimator.estimate({"test": np.zeros((64, 64, 3), dtype=np.uint8)})


def _check(path: Path, subject: str, use: Callable[[], None]) -> Finding:
    try:
        use()
    except PolicyLoadError as error:
        return fault(subject, str(error), _MEND)
    except MoeRobotControlError as error:
        return fault(subject, f"{path}: {error}", _MEND)
    except Exception as error:  # ONNX Runtime raises many kinds
        return fault(subject, f"{path}: cannot be run: {str(error).splitlines()[0]}", _MEND)
    if not manifest_path(path).is_file():
        text = f"{path.name} loads, but has no manifest: nothing tells what made it"
        return warning(subject, text)
    try:
        verify_manifest(path)
    except ManifestError as error:
        return fault(subject, str(error), _MEND)
    return ok(subject, f"{path.name} loads and is what its manifest says")
