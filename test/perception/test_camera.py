"""Camera geometry: round trips and known answers."""

import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.perception.camera import (
    Camera,
    CameraExtrinsics,
    CameraIntrinsics,
    triangulate,
)

INTRINSICS = CameraIntrinsics.from_field_of_view(np.deg2rad(46), 128, 128)
CAMERAS = [
    Camera(INTRINSICS, CameraExtrinsics.from_quaternion(mount.position, mount.orientation))
    for mount in ArmConfig.load("panda").cameras.values()
]
POINTS = np.random.default_rng(0).uniform([0.3, -0.3, 0.0], [0.6, 0.3, 0.3], (20, 3))


def test_straight_ahead_is_the_principal_point() -> None:
    for camera in CAMERAS:
        ahead = camera.extrinsics.position + 0.7 * camera.extrinsics.rotation[:, 2]
        np.testing.assert_allclose(camera.project(ahead), [63.5, 63.5])


def test_up_in_the_world_is_up_in_the_image() -> None:
    for camera in CAMERAS:
        low, high = camera.project(np.array([[0.45, 0, 0], [0.45, 0, 0.1]]))
        assert high[1] < low[1] and abs(high[0] - low[0]) < 1.0


def test_ray_undoes_projection() -> None:
    for camera in CAMERAS:
        offset = POINTS - camera.extrinsics.position
        expected = offset / np.linalg.norm(offset, axis=1, keepdims=True)
        np.testing.assert_allclose(camera.ray(camera.project(POINTS)), expected, atol=1e-12)


def test_plane_gives_back_the_point() -> None:
    for camera in CAMERAS:
        for point in POINTS:
            found = camera.on_plane(camera.project(point), point[2])
            np.testing.assert_allclose(found, point, atol=1e-9)


def test_triangulation_gives_back_the_point() -> None:
    for point in POINTS:
        pixels = np.stack([camera.project(point) for camera in CAMERAS])
        found, covariance, chi2 = triangulate(CAMERAS, pixels, np.array([0.1, 0.1]))
        np.testing.assert_allclose(found, point, atol=1e-9)
        assert chi2 < 1e-12 and (np.linalg.eigvalsh(covariance) > 0).all()


def test_triangulations_covariance_is_honest() -> None:
    rng = np.random.default_rng(1)
    std, inside, count = 0.5, 0, 2000
    point = POINTS[0]
    pixels = np.stack([camera.project(point) for camera in CAMERAS])
    for _ in range(count):
        noisy = pixels + rng.normal(0, std, pixels.shape)
        found, covariance, _ = triangulate(CAMERAS, noisy, np.full(2, std**2))
        offset = found - point
        inside += offset @ np.linalg.solve(covariance, offset) < 7.815
    assert inside / count == pytest.approx(0.95, abs=0.02)


def test_jacobian_against_finite_differences() -> None:
    for camera in CAMERAS:
        jacobian = camera.jacobian(POINTS[0])
        for axis in range(3):
            step = np.eye(3)[axis] * 1e-6
            slope = (camera.project(POINTS[0] + step) - camera.project(POINTS[0])) / 1e-6
            np.testing.assert_allclose(jacobian[:, axis], slope, rtol=1e-4, atol=1e-3)


def test_resizing_keeps_the_rays() -> None:
    camera = CAMERAS[0]
    large = Camera(camera.intrinsics.resized(256, 256), camera.extrinsics)
    pixel = camera.project(POINTS)
    # pixel centres sit at whole numbers: (p + 0.5) scales
    np.testing.assert_allclose(large.project(POINTS), (pixel + 0.5) * 2 - 0.5)
