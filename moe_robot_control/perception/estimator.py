"""Object positions from camera images: the pose network and the fusion of its views."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.perception.camera import Camera, triangulate
from moe_robot_control.policies.spaces import OBJECTS

NETWORK_SIZE = 128
"""Width and height of the images that the network sees [px]."""
SUPPORT_HEIGHT: dict[str, tuple[float, float]] = {
    "door_handle": (0.118, 0.002),
    "cabinet": (0.138, 0.002),
    "box": (0.090, 0.002),
    "tray": (0.006, 0.002),
    "drawer_handle": (0.083, 0.002),
    "chest": (0.108, 0.002),
    "rack": (0.050, 0.002),
    "bin": (0.006, 0.002),
}
"""Height of what stands on the bench and its standard deviation [m]: stands in for depth where
only one view sees the object. Lid and vial have no such height, and the button's is what
tells whether it is pressed."""
SEEN = 0.5
"""Least probability of being visible for a view to count."""
SPREAD_TO_STD = np.sqrt(2.0)
"""From the network's Laplace spread to its standard deviation along an axis."""
CALIBRATION_STD = 0.07
"""What errors of calibration and of the pixel grid add, in pixels of the network's image; chosen
so that 95% ellipsoids hold some 96% of the errors (`moe-robot-control evaluate perception`)."""
LARGEST_CHI2 = 20.0
"""Views that disagree more than this (one degree of freedom) do not show the same point."""


class PerceptionError(MoeRobotControlError):
    """A missing or unfit model, or an image that does not fit its camera."""


@dataclass(frozen=True)
class ObjectEstimate:
    """Where an object is seen.

    Attributes:
        name: one of `OBJECTS`.
        position: in the arm's base frame [m]. Shape (3,).
        covariance: [m^2]. Shape (3, 3).
        confidence: probability that it is visible, by the best view.
    """

    name: str
    position: np.ndarray
    covariance: np.ndarray
    confidence: float


@dataclass(frozen=True)
class _View:
    camera: Camera
    pixel: np.ndarray
    variance: float
    confidence: float


class PoseEstimator:
    """Runs the pose network on all views at once and fuses them."""

    def __init__(self, model_path: str | Path, cameras: Mapping[str, Camera]) -> None:
        """Load the network.

        Args:
            model_path: ONNX file, see `learning.perception_training.export`.
            cameras: calibrated cameras by name, in the base frame.

        Raises:
            PerceptionError: the file is missing, corrupt or another network.
        """
        self._session = _load(Path(model_path))
        self._calibrate(cameras)

    def with_cameras(self, cameras: Mapping[str, Camera]) -> PoseEstimator:
        """The same network behind other cameras."""
        other = copy.copy(self)
        other._calibrate(cameras)
        return other

    def _calibrate(self, cameras: Mapping[str, Camera]) -> None:
        self._cameras = dict(cameras)
        self._views = {
            name: Camera(camera.intrinsics.resized(NETWORK_SIZE, NETWORK_SIZE), camera.extrinsics)
            for name, camera in cameras.items()
        }

    def estimate(self, images: Mapping[str, np.ndarray]) -> list[ObjectEstimate]:
        """Positions of the objects that can be seen, and of no others.

        Args:
            images: RGB, uint8, (height, width, 3) as the camera's intrinsics say; by camera.

        Raises:
            PerceptionError: an unknown camera, or an image of another size or type.
        """
        names = list(images)
        for name in names:
            self._check(name, images[name])
        batch = np.stack([shrink(images[name]) for name in names]).astype(np.float32)
        answer = self._session.run(None, {"image": batch.transpose(0, 3, 1, 2)})[0]
        return self.fuse(dict(zip(names, answer.astype(np.float64), strict=True)))

    def fuse(self, answers: Mapping[str, np.ndarray]) -> list[ObjectEstimate]:
        """Estimates from the network's answer for each camera, shapes (11, 4)."""
        estimates = []
        for index, name in enumerate(OBJECTS):
            views = []
            for camera, answer in answers.items():
                u, v, log_spread, logit = answer[index]
                confidence = 1.0 / (1.0 + np.exp(-logit))
                if confidence > SEEN and np.isfinite(answer[index]).all():
                    std = SPREAD_TO_STD * np.exp(np.clip(log_spread, -3.0, 3.0))
                    views.append(
                        _View(
                            self._views[camera],
                            np.array([u, v]),
                            std**2 + CALIBRATION_STD**2,
                            confidence,
                        )
                    )
            estimate = _fuse(name, views)
            if estimate is not None:
                estimates.append(estimate)
        return estimates

    def _check(self, name: str, image: np.ndarray) -> None:
        if name not in self._cameras:
            raise PerceptionError(f"unknown camera {name!r}")
        k = self._cameras[name].intrinsics
        if image.dtype != np.uint8 or image.shape != (k.height, k.width, 3):
            raise PerceptionError(
                f"camera {name!r}: image is {image.dtype} {image.shape}, "
                f"expected uint8 ({k.height}, {k.width}, 3)"
            )


def shrink(image: np.ndarray) -> np.ndarray:
    """An image at the network's size, averaged over areas."""
    if image.shape[:2] == (NETWORK_SIZE, NETWORK_SIZE):
        return image
    return cv2.resize(image, (NETWORK_SIZE, NETWORK_SIZE), interpolation=cv2.INTER_AREA)


def _fuse(name: str, views: list[_View]) -> ObjectEstimate | None:
    views = sorted(views, key=lambda view: view.variance)[:2]
    if len(views) == 2:
        point, covariance, chi2 = triangulate(
            [view.camera for view in views],
            np.stack([view.pixel for view in views]),
            np.array([view.variance for view in views]),
        )
        if chi2 < LARGEST_CHI2:
            return ObjectEstimate(name, point, covariance, max(view.confidence for view in views))
    if not views or name not in SUPPORT_HEIGHT:
        return None
    view = views[0]
    height, height_std = SUPPORT_HEIGHT[name]
    point = view.camera.on_plane(view.pixel, height)
    if not np.isfinite(point).all():
        return None
    jacobian = view.camera.jacobian(point)
    information = jacobian.T @ jacobian / view.variance
    information[2, 2] += 1.0 / height_std**2
    return ObjectEstimate(name, point, np.linalg.inv(information), view.confidence)


def _load(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise PerceptionError(f"{path}: no such model file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises many kinds
        raise PerceptionError(f"{path}: not a readable ONNX model") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    size = [NETWORK_SIZE, NETWORK_SIZE]
    if (
        len(inputs) != 1
        or inputs[0].name != "image"
        or list(inputs[0].shape[1:]) != [3, *size]
        or len(outputs) != 1
        or list(outputs[0].shape[1:]) != [len(OBJECTS), 4]
    ):
        raise PerceptionError(
            f"{path}: not a pose network: expected input image (n, 3, 128, 128) and output "
            f"(n, {len(OBJECTS)}, 4), got {inputs[0].shape} and {outputs[0].shape}"
        )
    return session
