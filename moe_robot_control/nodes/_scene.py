"""What the nodes share that act on the scene: `manipulation_network` and `expert_policy`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import JointState

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.nodes._lifecycle import ManagedNode
from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_pose,
    from_stamp,
    pick_positions,
)
from moe_robot_control.policies.spaces import Scene
from moe_robot_control.policies.synchronizer import SceneSynchronizer
from moe_robot_control.share import share_path


class SceneNode(ManagedNode):
    """Collects poses and joint states of one stamp into a scene and calls `on_scene`.

    Attributes:
        qos: of the subscriptions.
    """

    qos = SENSOR

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, **options)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare(
            "model_directory",
            "",
            "Folder of the ONNX files; empty: models/policies of the package.",
            fixed=True,
        )
        declare(
            "max_skew",
            0.02,
            "Largest distance between an image and its joint state [s].",
            0.0,
            1.0,
            fixed=True,
        )

    @property
    def model_directory(self) -> Path:
        """Folder of the ONNX files."""
        return Path(self.parameters["model_directory"] or share_path("models/policies"))

    def subscribe_scene(self, objects: Sequence[str]) -> None:
        """Subscribe to `joint_states`, `objects/visible` and the poses of `objects`."""
        self.arm = ArmConfig.load(self.parameters["arm"])
        kinematics = Kinematics(self.arm.kinematics, self.arm.joint_names, self.arm.tip_site)
        self._joints = (*self.arm.joint_names, self.arm.gripper_joint)
        self._synchronizer = SceneSynchronizer(
            lambda joints: kinematics.forward(joints)[0], objects, self.parameters["max_skew"]
        )
        for name in objects:
            self.create_subscription(
                PoseWithCovarianceStamped,
                f"objects/{name}/pose",
                partial(self._on_pose, name),
                self.qos,
            )
        self.create_subscription(JointState, "objects/visible", self._on_visible, self.qos)
        topic = self.arm.topics["joint_states"]
        self.create_subscription(JointState, topic, self._on_joint_states, self.qos)

    def on_scene(self, stamp: int, scene: Scene) -> None:
        """Act on a scene; called again with the same stamp where messages were repeated."""
        raise NotImplementedError

    def complain(self, text: str) -> None:
        """Log an error, at most every two seconds."""
        self.get_logger().error(text, throttle_duration_sec=2.0)

    def _on_pose(self, name: str, message: PoseWithCovarianceStamped) -> None:
        position = from_pose(message)
        if not np.isfinite(position).all():
            self.complain(f"objects/{name}/pose: position is not finite; ignored")
            return
        stamp = from_stamp(message.header.stamp)
        self._pass_on(self._synchronizer.add_position(stamp, name, position))

    def _on_visible(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        self._pass_on(self._synchronizer.add_visible(stamp, message.name))

    def _on_joint_states(self, message: JointState) -> None:
        try:
            positions = pick_positions(message, self._joints)
        except MessageError as error:
            self.complain(f"joint_states: {error}")
            return
        if not np.isfinite(positions).all():
            # what is remembered of the scene moves with the arm: it would stay spoilt
            self.complain("joint_states: positions are not finite; ignored")
            return
        stamp = from_stamp(message.header.stamp)
        opening = self.arm.gripper_opening(positions[-1])
        self._pass_on(self._synchronizer.add_joint_state(stamp, positions[:-1], opening))

    def _pass_on(self, completed: tuple[int, Scene] | None) -> None:
        if completed is not None:
            self.on_scene(*completed)
