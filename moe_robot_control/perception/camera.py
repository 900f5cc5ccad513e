"""Pinhole cameras: projection, rays, triangulation.

Frames follow REP-103: a camera's optical frame has z forward, x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CameraIntrinsics:
    """Focal lengths and principal point [px] of an image of `width` x `height` [px]."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    @classmethod
    def from_field_of_view(cls, fovy: float, width: int, height: int) -> CameraIntrinsics:
        """Square pixels, centred; `fovy` is the vertical field of view [rad]."""
        focal = 0.5 * height / np.tan(0.5 * fovy)
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)

    def resized(self, width: int, height: int) -> CameraIntrinsics:
        """The same camera after its image was scaled to another size."""
        sx, sy = width / self.width, height / self.height
        return CameraIntrinsics(
            self.fx * sx,
            self.fy * sy,
            (self.cx + 0.5) * sx - 0.5,
            (self.cy + 0.5) * sy - 0.5,
            width,
            height,
        )


@dataclass(frozen=True)
class CameraExtrinsics:
    """Pose of a camera's optical frame in the arm's base frame.

    Attributes:
        position: [m]. Shape (3,).
        rotation: columns are the optical axes in the base frame. Shape (3, 3).
    """

    position: np.ndarray
    rotation: np.ndarray

    @classmethod
    def from_quaternion(cls, position: np.ndarray, quaternion: np.ndarray) -> CameraExtrinsics:
        """From a unit quaternion w, x, y, z."""
        w, x, y, z = (float(value) for value in quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(np.asarray(position, dtype=np.float64), rotation)


@dataclass(frozen=True)
class Camera:
    """A calibrated camera."""

    intrinsics: CameraIntrinsics
    extrinsics: CameraExtrinsics

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (u, v) of points in the base frame [m]; NaN behind the camera.

        Shapes (..., 3) -> (..., 2).
        """
        k = self.intrinsics
        local = (np.asarray(points) - self.extrinsics.position) @ self.extrinsics.rotation
        depth = np.where(local[..., 2] > 0, local[..., 2], np.nan)
        return np.stack(
            [k.fx * local[..., 0] / depth + k.cx, k.fy * local[..., 1] / depth + k.cy], axis=-1
        )

    def ray(self, pixel: np.ndarray) -> np.ndarray:
        """Unit direction in the base frame through pixels. Shapes (..., 2) -> (..., 3)."""
        k = self.intrinsics
        pixel = np.asarray(pixel, dtype=np.float64)
        local = np.stack(
            [
                (pixel[..., 0] - k.cx) / k.fx,
                (pixel[..., 1] - k.cy) / k.fy,
                np.ones(pixel.shape[:-1]),
            ],
            axis=-1,
        )
        direction = local @ self.extrinsics.rotation.T
        return direction / np.linalg.norm(direction, axis=-1, keepdims=True)

    def on_plane(self, pixel: np.ndarray, height: float) -> np.ndarray:
        """Where the ray through a pixel meets z = `height` [m]; NaN where it does not."""
        direction = self.ray(pixel)
        reach = (height - self.extrinsics.position[2]) / direction[..., 2]
        reach = np.where(reach > 0, reach, np.nan)
        return self.extrinsics.position + reach[..., None] * direction

    def jacobian(self, point: np.ndarray) -> np.ndarray:
        """Derivative of the pixel with respect to the point [px/m]. Shape (2, 3)."""
        k = self.intrinsics
        x, y, z = (np.asarray(point) - self.extrinsics.position) @ self.extrinsics.rotation
        local = np.array([[k.fx / z, 0.0, -k.fx * x / z**2], [0.0, k.fy / z, -k.fy * y / z**2]])
        return local @ self.extrinsics.rotation.T


def triangulate(
    cameras: list[Camera], pixels: np.ndarray, variances: np.ndarray, iterations: int = 3
) -> tuple[np.ndarray, np.ndarray, float]:
    """Most likely point behind its pixels in several views (Gauss-Newton).

    Args:
        cameras: m >= 2 views.
        pixels: where each view sees the point [px]. Shape (m, 2).
        variances: of each view's pixel, along each axis [px^2]. Shape (m,).
        iterations: Gauss-Newton steps after the linear start.

    Returns:
        Point in the base frame [m], its covariance [m^2], and the squared reprojection error
        in units of the variances (chi-squared with 2m - 3 degrees of freedom).
    """
    # start: the point nearest to all rays
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for camera, pixel in zip(cameras, pixels, strict=True):
        direction = camera.ray(pixel)
        off_ray = np.eye(3) - np.outer(direction, direction)
        normal += off_ray
        right += off_ray @ camera.extrinsics.position
    point = np.linalg.solve(normal, right)
    information = np.eye(3)
    for _ in range(iterations):
        information, gradient = np.zeros((3, 3)), np.zeros(3)
        for camera, pixel, variance in zip(cameras, pixels, variances, strict=True):
            jacobian = camera.jacobian(point)
            information += jacobian.T @ jacobian / variance
            gradient += jacobian.T @ (pixel - camera.project(point)) / variance
        point = point + np.linalg.solve(information, gradient)
    chi2 = sum(
        float(np.sum((pixel - camera.project(point)) ** 2) / variance)
        for camera, pixel, variance in zip(cameras, pixels, variances, strict=True)
    )
    return point, np.linalg.inv(information), chi2
