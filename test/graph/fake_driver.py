"""Something that looks like an arm's drivers and cameras from outside."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.qos import COMMAND, SENSOR
from moe_robot_control.nodes.ros_messages import to_camera_info, to_image, to_stamp

IMAGE_SIZE = 128
_FOCAL = 150.0


class FakeDriver:
    """Publishes joint states at 100 Hz and images at 25 Hz from a thread; obeys nothing."""

    def __init__(
        self,
        node: Node,
        arm: ArmConfig,
        names: Sequence[str] | None = None,
        positions: np.ndarray | None = None,
        delay: float = 0.0,
        cameras: Sequence[str] | None = None,
        encoding: str = "rgb8",
        controllers: Sequence[str] = ("joint_velocity", "gripper"),
        stop_button: bool = True,
    ) -> None:
        """Set up topics.

        Args:
            node: of the driver.
            arm: whose drivers these are.
            names: of the joints; by default the arm's and the gripper's.
            positions: of these joints; by default home, gripper open.
            delay: of the stamps [s].
            cameras: names; by default the arm's.
            encoding: of the images.
            controllers: roles of the topics that are listened to.
            stop_button: publish an emergency stop's topic.
        """
        self.node = node
        self.names = list(names or (*arm.joint_names, arm.gripper_joint))
        opened = arm.gripper_position(arm.max_gripper_width)
        self.positions = np.append(arm.home, opened) if positions is None else positions
        self.delay = round(delay * 1e9)
        self.encoding = encoding
        self._joints = node.create_publisher(JointState, arm.topics["joint_states"], SENSOR)
        self._images, self._infos = [], []
        for name in arm.cameras if cameras is None else cameras:
            prefix = f"cameras/{name}"
            self._images.append(node.create_publisher(Image, f"{prefix}/image_raw", SENSOR))
            info = to_camera_info(0, name, (IMAGE_SIZE, IMAGE_SIZE), (_FOCAL, _FOCAL), (64, 64))
            self._infos.append(
                (node.create_publisher(type(info), f"{prefix}/camera_info", SENSOR), info)
            )
        for role in controllers:
            node.create_subscription(
                Float64MultiArray, arm.topics[role], lambda message: None, COMMAND
            )
        if stop_button:
            node.create_publisher(Bool, arm.topics["emergency_stop"], COMMAND)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """Publish no more."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        pixels = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        tick = 0
        while not self._end.wait(0.01):
            stamp = time.time_ns() - self.delay
            message = JointState(name=self.names)
            message.header.stamp = to_stamp(stamp)
            message.position = array.array("d", self.positions)
            message.velocity = array.array("d", np.zeros(len(self.positions)))
            self._joints.publish(message)
            if tick % 4 == 0:
                image = to_image(stamp, "camera", pixels)
                image.encoding = self.encoding
                for (publisher, info), images in zip(self._infos, self._images, strict=True):
                    info.header.stamp = to_stamp(stamp)
                    publisher.publish(info)
                    images.publish(image)
            tick += 1


@contextmanager
def fake_driver(
    domain: int, arm: ArmConfig, namespace: str = "", **options: object
) -> Iterator[FakeDriver]:
    """A driver that publishes meanwhile."""
    with context_of(domain) as context:
        node = Node("driver", namespace=namespace, context=context)
        driver = FakeDriver(node, arm, **options)
        driver.start()
        try:
            yield driver
        finally:
            driver.stop()
            node.destroy_node()
