"""Images show what the cameras' calibration says."""

import mujoco
import numpy as np
import pytest

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import OBJECTS
from moe_robot_control.world import cameras
from moe_robot_control.world.cameras import CameraRenderer, make_renderer
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import BenchTask

COLOURS = {"button": (0.85, 0.1, 0.1), "vial": (0.85, 0.1, 0.65), "door_handle": (0.9, 0.25, 0.15)}


@pytest.fixture(scope="module")
def sim() -> BenchSimulation:
    return BenchSimulation(1)


@pytest.mark.parametrize("camera", ["left", "right"])
def test_objects_are_where_the_calibration_projects_them(sim: BenchSimulation, camera: str) -> None:
    task = BenchTask(sim)
    with CameraRenderer(sim) as renderer:
        calibration = renderer.camera(camera)
        found = 0
        for seed in range(8):
            task.reset([seed], scenario=4)
            image = renderer.render(camera).astype(float) / 255.0
            for name, colour in COLOURS.items():
                # a little below the mark: within the object from either side
                point = sim.object_positions()[0, OBJECTS.index(name)] - [0.0, 0.0, 0.004]
                u, v = np.rint(calibration.project(point)).astype(int)
                seen = image[v, u] / np.linalg.norm(image[v, u])
                found += seen @ np.array(colour) / np.linalg.norm(colour) > 0.95
    assert found == 8 * len(COLOURS)


def test_extrinsics_are_those_of_the_arms_file(sim: BenchSimulation) -> None:
    with CameraRenderer(sim) as renderer:
        for name, mount in ArmConfig.load("panda").cameras.items():
            extrinsics = renderer.camera(name).extrinsics
            np.testing.assert_allclose(extrinsics.position, mount.position, atol=1e-6)
            w, x, y, z = mount.orientation
            rotation = np.empty(9)
            mujoco.mju_quat2Mat(rotation, np.array([w, x, y, z]))
            np.testing.assert_allclose(extrinsics.rotation, rotation.reshape(3, 3), atol=1e-6)


def test_the_principal_ray_meets_the_middle_of_the_image(sim: BenchSimulation) -> None:
    with CameraRenderer(sim) as renderer:
        camera = renderer.camera("left")
        k = renderer.camera_info("left")
    assert (k.width, k.height) == (256, 256)
    assert k.fx == k.fy and k.cx == k.cy == 127.5
    ray = camera.ray(np.array([k.cx, k.cy]))
    np.testing.assert_allclose(ray, camera.extrinsics.rotation[:, 2], atol=1e-12)


def test_without_opengl_it_says_what_to_install(
    sim: BenchSimulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no display")

    monkeypatch.setattr(cameras.mujoco, "Renderer", fail)
    with pytest.raises(MoeRobotControlError, match="libegl1"):
        make_renderer(sim.model)
