"""Perception over DDS: images in, poses out; images that do not fit are refused."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger

from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.episode_runner import EpisodeRunner
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.nodes.ros_messages import from_stamp, to_camera_info, to_image
from moe_robot_control.policies.spaces import OBJECTS

from .client import GraphClient, client_of

CAMERAS = ("left", "right")
SIZE = 256
SECOND = 10**9


class Cameras:
    """Publishes images and camera_info as two cameras would."""

    def __init__(self, client: GraphClient) -> None:
        create = client.node.create_publisher
        self._images = {n: create(Image, f"cameras/{n}/image_raw", SENSOR) for n in CAMERAS}
        self._infos = {n: create(CameraInfo, f"cameras/{n}/camera_info", SENSOR) for n in CAMERAS}

    def publish(self, stamp: int, change: Callable[[Image], Image] = lambda image: image) -> None:
        for name in CAMERAS:
            middle = (SIZE - 1) / 2
            self._infos[name].publish(
                to_camera_info(stamp, name, (SIZE, SIZE), (300.0, 300.0), (middle, middle))
            )
            image = to_image(stamp, name, np.zeros((SIZE, SIZE, 3), np.uint8))
            self._images[name].publish(change(image) if name == "right" else image)


@pytest.fixture
def client(domain: int, environment: dict[str, str], pose_network: Path) -> Iterator[GraphClient]:
    """A client beside a running perception node."""
    output = io.StringIO()
    command = [sys.executable, "-m", "moe_robot_control.nodes.perception", "--ros-args"]
    commands = {"perception": [*command, "-p", f"model:={pose_network}"]}
    with ProcessGroup(commands, environment, output, catch_signals=False) as group:
        with client_of(domain, output) as client:
            client.group = group
            yield client


def see(client: GraphClient, cameras: Cameras, stamp: int) -> JointState:
    """Publish until objects are seen; returns the list of them."""
    with client.messages(JointState, "objects/visible") as visible:

        def seen() -> bool:
            cameras.publish(stamp)
            return bool(visible)

        client.until(seen, "objects seen")
        return visible[0]


def test_poses_carry_the_images_stamp(client: GraphClient) -> None:
    cameras = Cameras(client)
    with client.messages(PoseWithCovarianceStamped, "objects/bin/pose") as poses:
        visible = see(client, cameras, 5 * SECOND)
        client.until(lambda: poses, "a pose")
    assert from_stamp(visible.header.stamp) == 5 * SECOND
    assert list(visible.name) == list(OBJECTS)
    assert all(0.9 < confidence <= 1.0 for confidence in visible.position)
    assert poses[0].header.frame_id == "panda_link0"
    assert from_stamp(poses[0].header.stamp) == 5 * SECOND
    assert np.reshape(poses[0].pose.covariance, (6, 6))[0, 0] > 0


def _of_another_size(_: Image) -> Image:
    return to_image(6 * SECOND, "right", np.zeros((120, 160, 3), np.uint8))


def _of_another_encoding(image: Image) -> Image:
    image.encoding = "mono8"
    return image


def _cut_short(image: Image) -> Image:
    image.data = image.data[:1000]
    return image


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_of_another_size, ("160x120", "256x256")),
        (_of_another_encoding, ("mono8", "rgb8")),
        (_cut_short, ("1000", str(3 * SIZE * SIZE))),
    ],
)
def test_an_image_that_does_not_fit_is_refused_and_named(
    client: GraphClient, change: Callable[[Image], Image], words: tuple[str, ...]
) -> None:
    cameras = Cameras(client)
    see(client, cameras, 5 * SECOND)
    with client.messages(JointState, "objects/visible") as visible:

        def complained() -> bool:
            cameras.publish(6 * SECOND, change)
            return "cameras/right/image_raw" in client.output.getvalue()

        client.until(complained, "complaint")
        assert all(from_stamp(message.header.stamp) != 6 * SECOND for message in visible)
    line = next(line for line in client.output.getvalue().splitlines() if "image_raw" in line)
    for word in words:
        assert word in line
    assert "Traceback" not in client.output.getvalue()
    assert from_stamp(see(client, cameras, 7 * SECOND).header.stamp) == 7 * SECOND
    assert client.group.ended() is None


def test_recalibration_waits_for_camera_info(client: GraphClient) -> None:
    cameras = Cameras(client)
    see(client, cameras, 5 * SECOND)
    assert client.call(Trigger, "perception/recalibrate").success
    assert from_stamp(see(client, cameras, 6 * SECOND).header.stamp) == 6 * SECOND


def test_episodes_from_rendered_images(models: Path, pose_network: Path, tmp_path: Path) -> None:
    brief = tmp_path / "brief.yaml"
    brief.write_text("/**:\n  ros__parameters: {time_limit: 1.0}\n")
    options = GraphOptions(
        model_directory=str(models),
        perception_model=str(pose_network),
        parameter_files=(str(brief),),
    )
    paths = []
    with EpisodeRunner(options) as runner:
        for _ in range(2):
            result = runner.run(scenario=1, seed=2, record="left")
            assert result.time == pytest.approx(1.0)
            images = [tick.image for tick in result.ticks if tick.image is not None]
            assert len(images) > 10 and images[0].shape == (SIZE, SIZE, 3)
            assert images[0].std() > 10, "an image of nothing"
            paths.append([list(tick.joints.values()) for tick in result.ticks])
    np.testing.assert_array_equal(paths[0], paths[1])
