"""An operator at the arm: while he holds the deadman button, he moves the tip in a circle."""

from __future__ import annotations

import math
import sys

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState

from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.qos import COMMAND
from moe_robot_control.nodes.ros_messages import to_named_values, to_twist
from safety.corruptions import corrupted

PERIOD = 0.02
"""Of his messages [s]."""


class OperatorNode(Node):
    """Publishes `teleop/twist` and `teleop/gripper` while parameter `holding` is true.

    The twist's frame names him, and the garbage that he sends: only those who watch read it.
    """

    def __init__(self, name: str = "operator", **options: object) -> None:
        super().__init__(name, **options)
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("holding", False, "Whether he holds the button.")
        declare("speed", 0.15, "Of the tip [m/s].", 0.0, 10.0)
        declare("turn_rate", 2.0, "Of the tip's direction [rad/s].", 0.0, 20.0)
        declare("garbage", "", "One of CORRUPTIONS, of all that he sends; empty: none.")
        declare("opening", 0.08, "Of the gripper [m].", -10.0, 10.0)
        self._twists = self.create_publisher(TwistStamped, "teleop/twist", COMMAND)
        self._grippers = self.create_publisher(JointState, "teleop/gripper", COMMAND)
        self._phase = 0.0
        self.create_timer(PERIOD, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        parameters = self.parameters
        if not parameters["holding"]:
            return
        self._phase += parameters["turn_rate"] * PERIOD
        direction = np.array([math.cos(self._phase), math.sin(self._phase), 0.0])
        stamp = self.get_clock().now().nanoseconds
        frame = f"{self.get_name()} {parameters['garbage']}".strip()
        twist = to_twist(stamp, frame, parameters["speed"] * direction)
        gripper = to_named_values(stamp, {"gripper": parameters["opening"]})
        if parameters["garbage"]:
            twist, gripper = (corrupted(m, parameters["garbage"]) for m in (twist, gripper))
        self._twists.publish(twist)
        self._grippers.publish(gripper)


def main() -> int:
    """Console entry."""
    return run_nodes([OperatorNode], "operator")


if __name__ == "__main__":
    sys.exit(main())
