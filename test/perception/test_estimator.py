"""The committed pose network on renders it has never seen, and on input that does not fit."""

from collections.abc import Iterator

import numpy as np
import pytest

from moe_robot_control.manifest import verify_manifest
from moe_robot_control.perception.estimator import PerceptionError, PoseEstimator
from moe_robot_control.policies.spaces import OBJECTS
from moe_robot_control.share import share_path
from moe_robot_control.world.cameras import CameraRenderer
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import BenchTask

MODEL = share_path("models/perception/keypoints.onnx")
CAMERAS = ("left", "right")


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[BenchSimulation, BenchTask, CameraRenderer]]:
    sim = BenchSimulation(1)
    with CameraRenderer(sim) as renderer:
        yield sim, BenchTask(sim), renderer


def look(renderer: CameraRenderer) -> dict[str, np.ndarray]:
    estimator = PoseEstimator(MODEL, {name: renderer.camera(name) for name in CAMERAS})
    return {e.name: e.position for e in estimator.estimate(renderer.render_all(CAMERAS))}


def test_positions_are_found(bench) -> None:
    sim, task, renderer = bench
    errors = []
    for seed in range(21):
        task.reset([5000 + seed], scenario=1 + seed % 7)
        truth = sim.object_positions()[0]
        found = look(renderer)
        errors += [np.linalg.norm(p - truth[OBJECTS.index(name)]) for name, p in found.items()]
    assert len(errors) > 21 * 9
    assert np.median(errors) < 0.004
    assert np.quantile(errors, 0.95) < 0.015


def test_covered_vial_is_not_published(bench) -> None:
    _, task, renderer = bench
    for seed in range(10):
        task.reset([6000 + seed], scenario=7)
        assert "vial" not in look(renderer)


def test_one_view_falls_back_to_the_support_plane(bench) -> None:
    sim, task, renderer = bench
    task.reset([1], scenario=5)
    estimator = PoseEstimator(MODEL, {"left": renderer.camera("left")})
    found = {e.name: e for e in estimator.estimate(renderer.render_all(("left",)))}
    truth = sim.object_positions()[0]
    for name in ("chest", "cabinet", "door_handle"):
        assert np.linalg.norm(found[name].position - truth[OBJECTS.index(name)]) < 0.015
    # their height is not known from one view
    assert "vial" not in found and "lid" not in found


def test_manifest_belongs_to_the_model() -> None:
    assert verify_manifest(MODEL)["metrics"]["median_px"] < 1.0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((256, 200, 3), np.uint8),
        np.zeros((256, 256), np.uint8),
        np.zeros((256, 256, 3), np.float32),
    ],
)
def test_unfit_images_are_refused(bench, image: np.ndarray) -> None:
    estimator = PoseEstimator(MODEL, {"left": bench[2].camera("left")})
    with pytest.raises(PerceptionError, match="camera 'left': image is"):
        estimator.estimate({"left": image})


def test_unknown_camera_is_refused(bench) -> None:
    with pytest.raises(PerceptionError, match="unknown camera 'top'"):
        PoseEstimator(MODEL, {}).estimate({"top": np.zeros((256, 256, 3), np.uint8)})


def test_missing_corrupt_and_foreign_models_are_named(tmp_path) -> None:
    with pytest.raises(PerceptionError, match=r"absent\.onnx: no such model file"):
        PoseEstimator(tmp_path / "absent.onnx", {})
    (tmp_path / "corrupt.onnx").write_bytes(b"not a model")
    with pytest.raises(PerceptionError, match=r"corrupt\.onnx: not a readable ONNX model"):
        PoseEstimator(tmp_path / "corrupt.onnx", {})
    with pytest.raises(PerceptionError, match="not a pose network"):
        PoseEstimator(share_path("models/policies/push_button.onnx"), {})
