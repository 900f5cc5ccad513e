"""What the console knows of a running graph: the newest of every topic, and how often it comes."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.nodes.qos import EVENTS, LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_pose,
    from_stamp,
)
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.policies.spaces import OBJECTS

FRESH = 1.0
"""What is older than this is no longer shown as the present [s]."""
_SILENT = 3.0
"""Diagnostics older than this come from a node that is gone [s]."""
_LEVELS = {
    DiagnosticStatus.OK: "ok",
    DiagnosticStatus.WARN: "warn",
    DiagnosticStatus.ERROR: "error",
    DiagnosticStatus.STALE: "error",
}


class Rate:
    """How often something came within the last second, and when it came last."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1000)

    def count(self) -> None:
        """It came now."""
        self._times.append(time.monotonic())

    @property
    def age(self) -> float:
        """Time since it came last [s]; infinite if it never did."""
        return time.monotonic() - self._times[-1] if self._times else float("inf")

    @property
    def per_second(self) -> float:
        """Over the last second."""
        since = time.monotonic() - 1.0
        return float(sum(1 for moment in tuple(self._times) if moment > since))


class GraphWatch:
    """Listens to the graph. Its callbacks run in the node's thread, its readers in another.

    What readers see is replaced as a whole and never changed, so that no lock is needed.

    Attributes:
        joints: positions by name [rad], the gripper's joint among them; velocities likewise.
        weights: of the gate, by expert.
        episode: the simulated bench's status; None where there is none.
        recorder: its status; None where there is none.
        commander: values of its diagnostics, by key.
        images: newest serialised image of each camera, and its number.
        cameras: calibrated, by name.
    """

    def __init__(self, node: Node, arm: ArmConfig) -> None:
        """Subscribe on behalf of `node`."""
        self._arm = arm
        self.joints: dict[str, float] = {}
        self.velocities: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.episode: dict[str, Any] | None = None
        self.recorder: dict[str, Any] | None = None
        self.commander: dict[str, str] = {}
        self.images: dict[str, tuple[int, bytes]] = {}
        self.cameras: dict[str, Camera] = {}
        self.on_image: Callable[[], None] = lambda: None
        self._diagnostics: dict[str, tuple[float, str, str]] = {}
        self._visible: tuple[str, ...] = ()
        self._positions: dict[str, Any] = {}
        self._arrivals: dict[int, float] = {}
        self._latencies: deque[float] = deque(maxlen=20)
        self._lock = threading.Lock()
        names = [f"cameras/{name}" for name in arm.cameras]
        names += ["joint_states", "objects", "gate/weights", "command"]
        self.rates = {name: Rate() for name in names}
        self._subscribe(node)

    def _subscribe(self, node: Node) -> None:
        subscribe = node.create_subscription
        subscribe(JointState, self._arm.topics["joint_states"], self._on_joint_states, SENSOR)
        subscribe(JointState, "gate/weights", self._on_weights, SENSOR)
        subscribe(TwistStamped, "command/twist", self._on_command, SENSOR)
        subscribe(JointState, "objects/visible", self._on_visible, SENSOR)
        subscribe(DiagnosticArray, "diagnostics", self._on_diagnostics, EVENTS)
        subscribe(String, "mujoco_bridge/status", partial(self._on_status, "episode"), LATCHED)
        subscribe(String, "demo_recorder/status", partial(self._on_status, "recorder"), LATCHED)
        for name in OBJECTS:
            topic = f"objects/{name}/pose"
            subscribe(PoseWithCovarianceStamped, topic, partial(self._on_pose, name), SENSOR)
        for name in self._arm.cameras:
            topic = f"cameras/{name}"
            # raw: most images are looked at by nobody and need not be unpacked
            on_image = partial(self._on_image, name)
            subscribe(Image, f"{topic}/image_raw", on_image, SENSOR, raw=True)
            subscribe(CameraInfo, f"{topic}/camera_info", partial(self._on_info, name), SENSOR)

    # -- what is read ------------------------------------------------------------------------

    @property
    def latency(self) -> float | None:
        """Median time from an observation to the command that answers it [s]."""
        if self.rates["command"].age > FRESH:
            return None
        with self._lock:
            latencies = sorted(self._latencies)
        return latencies[len(latencies) // 2] if latencies else None

    @property
    def seen(self) -> dict[str, Any]:
        """Positions of the objects that are seen now, base frame [m]."""
        if self.rates["objects"].age > FRESH:
            return {}
        positions = self._positions
        return {name: positions[name] for name in self._visible if name in positions}

    @property
    def diagnostics(self) -> list[dict[str, str]]:
        """Name, level (ok, warn, error) and message of all that report."""
        now = time.monotonic()
        told = []
        for name, (moment, level, message) in sorted(self._diagnostics.items()):
            if now - moment > _SILENT:
                level, message = "error", f"silent for {now - moment:.0f} s, before: {message}"
            told.append({"name": name, "level": level, "message": message})
        return told

    # -- what comes in -----------------------------------------------------------------------

    def _on_joint_states(self, message: JointState) -> None:
        try:
            self.joints = from_named_values(message)
        except MessageError:
            return
        self.velocities = dict(zip(message.name, message.velocity, strict=False))
        self.rates["joint_states"].count()
        self._arrivals[from_stamp(message.header.stamp)] = time.monotonic()
        while len(self._arrivals) > 200:
            del self._arrivals[next(iter(self._arrivals))]

    def _on_weights(self, message: JointState) -> None:
        try:
            self.weights = from_named_values(message)
        except MessageError:
            return
        self.rates["gate/weights"].count()

    def _on_command(self, message: TwistStamped) -> None:
        self.rates["command"].count()
        arrived = self._arrivals.pop(from_stamp(message.header.stamp), None)
        if arrived is not None:
            with self._lock:
                self._latencies.append(time.monotonic() - arrived)

    def _on_visible(self, message: JointState) -> None:
        self._visible = tuple(message.name)
        self.rates["objects"].count()

    def _on_pose(self, name: str, message: PoseWithCovarianceStamped) -> None:
        self._positions = self._positions | {name: from_pose(message)}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        told = dict(self._diagnostics)
        for status in message.status:
            told[status.name] = now, _LEVELS.get(status.level, "error"), status.message
            if status.name.endswith(": command"):
                values = {value.key: value.value for value in status.values}
                values |= {"message": status.message, "level": told[status.name][1]}
                self.commander = values | {"name": status.name}
        self._diagnostics = told

    def _on_status(self, attribute: str, message: String) -> None:
        try:
            status = json.loads(message.data)
        except ValueError:
            return
        if isinstance(status, dict):
            setattr(self, attribute, status)

    def _on_image(self, camera: str, data: bytes) -> None:
        number = self.images[camera][0] + 1 if camera in self.images else 0
        self.images = self.images | {camera: (number, data)}
        self.rates[f"cameras/{camera}"].count()
        self.on_image()

    def _on_info(self, camera: str, message: CameraInfo) -> None:
        fx, fy, cx, cy = message.k[0], message.k[4], message.k[2], message.k[5]
        if camera in self.cameras or not (fx > 0 and fy > 0 and message.width and message.height):
            return
        mount = self._arm.cameras[camera]
        extrinsics = CameraExtrinsics.from_quaternion(mount.position, mount.orientation)
        intrinsics = CameraIntrinsics(fx, fy, cx, cy, message.width, message.height)
        self.cameras = self.cameras | {camera: Camera(intrinsics, extrinsics)}
