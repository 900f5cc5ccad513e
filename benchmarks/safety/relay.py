"""A process between two topics, that hands messages on, or not, or not as they were.

It reads `<topic>/clean` and writes `<topic>`, for every topic of `ROUTES`; whoever publishes the
topic is remapped. Parameter `<route>` says what it does: `pass`, `drop`, `delay SECONDS`,
`duplicate`, `reorder` (every other message after the one that follows it), `shift SECONDS`
(of stamps), or one of `CORRUPTIONS`. `~/altered` (latched JSON) tells by route when the first
message was altered in the present way [ns, wall clock].
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.priority import go_first
from moe_robot_control.nodes.qos import LATCHED, SENSOR
from safety.corruptions import CORRUPTIONS, corrupted, shift
from safety.policies import HEAVY

ROUTES: dict[str, tuple[type, str]] = {
    "joint_states": (JointState, "joint_states"),
    "weights": (JointState, "gate/weights"),
    "twist": (TwistStamped, f"experts/{HEAVY}/twist"),
    "gripper": (JointState, f"experts/{HEAVY}/gripper"),
    "visible": (JointState, "objects/visible"),
    "pose": (PoseWithCovarianceStamped, "objects/button/pose"),
    "image": (Image, "cameras/left/image_raw"),
    "info": (CameraInfo, "cameras/left/camera_info"),
}
"""Kind and topic of each route."""
CLEAN = "/clean"
"""Follows a topic's name before the relay."""
PRIORITY = 45
"""Real-time, where allowed: a wire does not wait for processes."""
_PLAIN = ("pass", "drop", "duplicate", "reorder")
_WITH_SECONDS = ("delay", "shift")
_LISTEN = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def check_mode(mode: str) -> str:
    """Why a mode is none, or an empty text."""
    kind, _, seconds = mode.partition(" ")
    if kind in _WITH_SECONDS:
        try:
            float(seconds)
        except ValueError:
            return f"{kind} needs seconds, not {seconds!r}"
        return ""
    known = {*_PLAIN, *_WITH_SECONDS, *CORRUPTIONS}
    return "" if mode in known else f"expected one of {', '.join(sorted(known))}, not {mode!r}"


class RelayNode(Node):
    """See above."""

    def __init__(self, name: str = "relay", **options: object) -> None:
        super().__init__(name, **options)
        self.parameters = Parameters(self)
        self._out: dict[str, Any] = {}
        self._held: dict[str, Any] = {}
        self._late: deque[tuple[float, str, Any]] = deque()
        self._told: dict[str, dict[str, object]] = {}
        self._altered = self.create_publisher(String, "~/altered", LATCHED)
        for route, (kind, topic) in ROUTES.items():
            self.parameters.declare(route, "pass", f"What happens to {topic}.", check=check_mode)
            self._out[route] = self.create_publisher(kind, topic, SENSOR)
            self.create_subscription(kind, topic + CLEAN, partial(self._on, route), _LISTEN)
        self.create_timer(0.005, self._deliver, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on(self, route: str, message: Any) -> None:
        mode = self.parameters[route]
        publish = self._out[route].publish
        if mode != "pass":
            self._tell(route, mode)
        held = self._held.pop(route, None)
        kind, _, seconds = mode.partition(" ")
        if kind in ("pass", "duplicate"):
            publish(message)
            if kind == "duplicate":
                publish(message)
        elif kind == "reorder":
            if held is None:
                self._held[route] = message
            else:
                publish(message)
                publish(held)
        elif kind == "delay":
            self._late.append((time.monotonic() + float(seconds), route, message))
        elif kind == "shift":
            publish(shift(message, float(seconds)))
        elif kind != "drop":
            publish(corrupted(message, kind))

    def _deliver(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._late)):
            due, route, message = self._late.popleft()
            if due > now:
                self._late.append((due, route, message))
            elif self.parameters[route].startswith("delay"):
                # what is still under way when the fault ends would come after newer messages
                self._out[route].publish(message)

    def _tell(self, route: str, mode: str) -> None:
        if self._told.get(route, {}).get("mode") != mode:
            self._told[route] = {"mode": mode, "first": time.time_ns()}
            self._altered.publish(String(data=json.dumps(self._told)))


def _build() -> RelayNode:
    """The node, that delays only what it is told to, where real-time priority is allowed."""
    node = RelayNode()
    go_first(PRIORITY)
    return node


def main() -> int:
    """Console entry."""
    return run_nodes([_build], "relay")


if __name__ == "__main__":
    sys.exit(main())
