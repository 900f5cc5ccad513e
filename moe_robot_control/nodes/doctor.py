"""Listens to a running robot for the doctor, and says nothing itself."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy import Context
from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.doctor.findings import Finding
from moe_robot_control.doctor.stream_checks import check_robot
from moe_robot_control.doctor.streams import (
    CameraStream,
    CommanderState,
    CommandTopic,
    EmergencyStop,
    JointStream,
    Robot,
    Stream,
)
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.qos import EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import from_stamp
from moe_robot_control.perception.camera import CameraIntrinsics

SETTLE = 4.0
"""Before this [s], somebody who disturbs may not have been discovered: Fast DDS announces itself
every 3 s to those who missed the beginning."""
COMMANDER = "velocity_commander"
_COMMANDS = {
    "joint_velocity": "std_msgs/msg/Float64MultiArray",
    "servo_twist": "geometry_msgs/msg/TwistStamped",
    "joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "gripper": "std_msgs/msg/Float64MultiArray",
}
"""The message of each role."""
_JOINT_STATES = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""None is to be missed while an image is unpacked."""


def examine(
    arm: ArmConfig, namespace: str = "", timeout: float = 10.0, domain: int | None = None
) -> list[Finding]:
    """Listen until everything expected was heard, or for `timeout` [s], and judge it.

    Args:
        arm: what is expected.
        namespace: of the arm's nodes.
        timeout: how long to wait for what does not come [s].
        domain: ROS domain; by default that of the environment.

    Raises:
        MoeRobotControlError: `namespace` cannot be one.
    """
    with context_of(domain) as context:
        try:
            listener = DoctorNode(arm, namespace, context)
        except InvalidNamespaceException as error:
            reason = str(error).splitlines()[0]
            raise MoeRobotControlError(f"--namespace {namespace!r}: {reason}") from error
        executor = LeanExecutor(context=context)
        executor.add_node(listener)
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < timeout:
            executor.spin_some(0.02)
            if elapsed > SETTLE and listener.is_complete:
                break
        listener.look_around()
        robot = listener.robot
        listener.destroy_node()
    return check_robot(robot, arm)


class DoctorNode(Node):
    """Fills a `Robot` with what it hears.

    Attributes:
        robot: what was heard so far.
    """

    def __init__(self, arm: ArmConfig, namespace: str, context: Context) -> None:
        super().__init__("doctor", namespace=namespace, context=context, use_global_arguments=False)
        name = self.resolve_topic_name
        self.robot = Robot(
            joints=JointStream(name(arm.topics["joint_states"])),
            cameras={c: CameraStream(name(f"cameras/{c}/image_raw")) for c in arm.cameras},
            commands=[
                CommandTopic(name(arm.topics[role]), _COMMANDS[role])
                for role in (arm.output, "gripper")
            ],
            commander=CommanderState(),
            emergency_stop=EmergencyStop(name(arm.topics["emergency_stop"])),
        )
        self._clock_now: int | None = None
        subscribe = self.create_subscription
        subscribe(Clock, "/clock", self._on_clock, SENSOR)
        subscribe(JointState, arm.topics["joint_states"], self._on_joint_states, _JOINT_STATES)
        for camera in arm.cameras:
            prefix = f"cameras/{camera}"
            subscribe(Image, f"{prefix}/image_raw", partial(self._on_image, camera), SENSOR)
            on_info = partial(self._on_camera_info, camera)
            subscribe(CameraInfo, f"{prefix}/camera_info", on_info, SENSOR)
        subscribe(DiagnosticArray, "diagnostics", self._on_diagnostics, EVENTS)

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        robot = self.robot
        self.look_around()
        return (
            _is_long(robot.joints, 20)
            and all(_is_long(s, 8) and s.intrinsics for s in robot.cameras.values())
            and all(topic.listeners for topic in robot.commands)
            and (not robot.commander.running or robot.commander.level is not None)
        )

    def look_around(self) -> None:
        """Note which nodes are at the ends of the topics."""
        robot, here = self.robot, self.get_namespace()
        streams = ((robot.joints, JointState), *((s, Image) for s in robot.cameras.values()))
        kinds = dict(self.get_topic_names_and_types())
        for stream, message in streams:
            wanted = _type_name(message)
            stream.publishers = _nodes(self.get_publishers_info_by_topic(stream.topic))
            stream.elsewhere = sorted(
                topic
                for topic, types in kinds.items()
                # weights and grippers travel as joint states, too
                if wanted in types
                and topic != stream.topic
                and not _is_ours(topic)
                # our own subscriptions count as topics
                and self.count_publishers(topic)
            )
        commander = f"{here.rstrip('/')}/{COMMANDER}"
        for topic in robot.commands:
            listening = self.get_subscriptions_info_by_topic(topic.topic)
            topic.listeners = sorted({(_full_name(e), e.topic_type) for e in listening})
            sending = _nodes(self.get_publishers_info_by_topic(topic.topic))
            topic.others = [node for node in sending if node != commander]
        names = self.get_node_names_and_namespaces()
        robot.commander.running = (COMMANDER, here) in names
        stop = robot.emergency_stop
        stop.listeners = _nodes(self.get_subscriptions_info_by_topic(stop.topic))
        senders = self.get_publishers_info_by_topic(stop.topic)
        stop.publishers = _nodes(senders)
        stop.unheard = _nodes(
            [e for e in senders if e.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT]
        )
        robot.clocks = _nodes(self.get_publishers_info_by_topic("/clock"))

    def _note(self, stream: Stream, stamp: int) -> None:
        now = time.time_ns() if self._clock_now is None else self._clock_now
        stream.stamps.append(stamp)
        stream.ages.append((now - stamp) * 1e-9)

    def _on_clock(self, message: Clock) -> None:
        self._clock_now = from_stamp(message.clock)

    def _on_joint_states(self, message: JointState) -> None:
        joints = self.robot.joints
        self._note(joints, from_stamp(message.header.stamp))
        joints.names.append(tuple(message.name))
        joints.positions.append(np.array(message.position))
        joints.has_velocities.append(len(message.velocity) == len(message.name))

    def _on_image(self, camera: str, message: Image) -> None:
        stream = self.robot.cameras[camera]
        self._note(stream, from_stamp(message.header.stamp))
        stream.sizes.append((message.width, message.height))
        stream.encodings.append(message.encoding)

    def _on_camera_info(self, camera: str, message: CameraInfo) -> None:
        stream = self.robot.cameras[camera]
        fx, fy, cx, cy = (float(message.k[i]) for i in (0, 4, 2, 5))
        stream.calibrated = fx > 0 and fy > 0 and message.width > 0 and message.height > 0
        stream.distortion = tuple(message.d)
        if stream.calibrated:
            size = message.width, message.height
            stream.intrinsics = CameraIntrinsics(fx, fy, cx, cy, *size)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(COMMANDER):
                commander = self.robot.commander
                commander.level = int.from_bytes(status.level, "little")
                commander.message = status.message
                values = {item.key: item.value for item in status.values}
                commander.dry_run = values.get("dry_run", "").lower() == "true"


def _is_long(stream: Stream, count: int) -> bool:
    return len(stream.stamps) >= count and stream.span > 0.3


def _is_ours(topic: str) -> bool:
    parts = topic.split("/")
    return any(part in ("gate", "experts", "objects", "teleop") for part in parts)


def _type_name(message: type) -> str:
    return f"{message.__module__.split('.')[0]}/msg/{message.__name__}"


def _full_name(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def _nodes(endpoints: list[TopicEndpointInfo]) -> list[str]:
    return sorted({_full_name(endpoint) for endpoint in endpoints})
