"""Puts the joint states of an arm and of a gripper with its own driver into one message."""

from __future__ import annotations

import array
import sys

import sensor_msgs.msg
from rclpy.node import Node

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.joint_states import JointState, JointStateMerger
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.nodes.ros_messages import from_stamp, to_stamp


class JointStateMergerNode(Node):
    """Publishes the arm's `joint_states` topic from two others."""

    def __init__(self, name: str = "joint_state_merger", **options: object) -> None:
        super().__init__(name, **options)
        parameters = Parameters(self)
        declare = parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("arm_topic", "arm/joint_states", "Joint states of the arm alone.", fixed=True)
        declare("gripper_topic", "gripper/joint_states", "Those of the gripper.", fixed=True)
        declare(
            "max_age",
            0.2,
            "Largest distance between the arm's state and the gripper's [s].",
            0.01,
            5.0,
            fixed=True,
        )
        self._merger = JointStateMerger(parameters["max_age"])
        kind = sensor_msgs.msg.JointState
        topic = ArmConfig.load(parameters["arm"]).topics["joint_states"]
        self._publisher = self.create_publisher(kind, topic, SENSOR)
        self.create_subscription(kind, parameters["gripper_topic"], self._on_gripper, SENSOR)
        self.create_subscription(kind, parameters["arm_topic"], self._on_arm, SENSOR)

    def _on_gripper(self, message: sensor_msgs.msg.JointState) -> None:
        state = self._read(message)
        if state is not None:
            self._merger.set_gripper(state)

    def _on_arm(self, message: sensor_msgs.msg.JointState) -> None:
        state = self._read(message)
        if state is None:
            return
        merged = self._merger.complete(state)
        if merged is None:
            text = "the gripper's joint states are missing or too old: nothing is published"
            self.get_logger().warning(text, throttle_duration_sec=2.0)
            return
        answer = sensor_msgs.msg.JointState(name=list(merged.names))
        answer.header.stamp = to_stamp(merged.stamp)
        answer.header.frame_id = message.header.frame_id
        answer.position = array.array("d", merged.positions)
        answer.velocity = array.array("d", merged.velocities)
        self._publisher.publish(answer)

    def _read(self, message: sensor_msgs.msg.JointState) -> JointState | None:
        if len(message.name) != len(message.position):
            text = f"{len(message.name)} names but {len(message.position)} positions"
            self.get_logger().error(f"joint states: {text}", throttle_duration_sec=2.0)
            return None
        return JointState(
            from_stamp(message.header.stamp),
            tuple(message.name),
            tuple(message.position),
            tuple(message.velocity),
        )


def main() -> int:
    """Console entry."""
    return run_nodes([JointStateMergerNode], "joint_state_merger")


if __name__ == "__main__":
    sys.exit(main())
