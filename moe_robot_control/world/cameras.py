"""Rendering of the fixed cameras, with intrinsics and extrinsics true to the images."""

from __future__ import annotations

from typing import Self

import mujoco
import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.world.simulation import BenchSimulation

IMAGE_SIZE = 256
"""Width and height of the cameras' images [px]."""


class RenderingError(MoeRobotControlError):
    """No way to render on this machine."""


def make_renderer(model: mujoco.MjModel, size: int = IMAGE_SIZE) -> mujoco.Renderer:
    """An off-screen renderer.

    Raises:
        RenderingError: no OpenGL; the message says what to install.
    """
    try:
        return mujoco.Renderer(model, size, size)
    except Exception as error:  # each GL backend raises its own kind
        raise RenderingError(
            "cannot render off-screen: set MUJOCO_GL=egl and install libegl1 libegl-mesa0 "
            f"libgl1-mesa-dri ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def camera_of(model: mujoco.MjModel, name: str, size: int = IMAGE_SIZE) -> Camera:
    """Calibration of a model's camera for images of `size` x `size`."""
    camera = model.camera(name)
    intrinsics = CameraIntrinsics.from_field_of_view(np.deg2rad(camera.fovy[0]), size, size)
    # optical frame from MuJoCo's: half a turn about x
    quaternion = np.empty(4)
    mujoco.mju_mulQuat(quaternion, camera.quat, np.array([0.0, 1.0, 0.0, 0.0]))
    return Camera(intrinsics, CameraExtrinsics.from_quaternion(camera.pos.copy(), quaternion))


class CameraRenderer:
    """Renders any camera of one simulation out of a batch; use as a context manager or close."""

    def __init__(self, sim: BenchSimulation, size: int = IMAGE_SIZE) -> None:
        self._sim = sim
        self._size = size
        self._model = sim.model_of(0)
        self._data = mujoco.MjData(self._model)
        self._renderer = make_renderer(self._model, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def camera(self, name: str) -> Camera:
        """Calibration of a camera."""
        return camera_of(self._model, name, self._size)

    def camera_info(self, name: str) -> CameraIntrinsics:
        """Intrinsics of a camera."""
        return self.camera(name).intrinsics

    def render(self, camera: str, sim_index: int = 0) -> np.ndarray:
        """RGB image, (size, size, 3) uint8, of the present state."""
        return self.render_all((camera,), sim_index)[camera]

    def render_all(self, cameras: tuple[str, ...], sim_index: int = 0) -> dict[str, np.ndarray]:
        """RGB images of several cameras of one state."""
        self._sim.batch.get_model(sim_index, self._model)
        self._sim.batch.get_data(sim_index, self._data)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        images = {}
        for name in cameras:
            self._renderer.update_scene(self._data, name)
            images[name] = self._renderer.render().copy()
        return images
