"""A gate, experts and an operator out of their minds: random weights, actions, silences, garbage.

Every 50 ms weights and the actions of the experts that have one, of one stamp; the experts and
their wishes, often beyond all limits, change at random moments, as does who acts: the policies,
an operator too, or nobody.
"""

from __future__ import annotations

import sys

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState

from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.qos import COMMAND, SENSOR
from moe_robot_control.nodes.ros_messages import to_named_values, to_twist
from moe_robot_control.policies.spaces import DECISION_PERIOD, MAX_SPEED, SKILLS
from safety.corruptions import corrupted

REGIMES = {"policies": 0.7, "operator": 0.2, "nobody": 0.1}
"""Who acts, and how often he is drawn."""
GARBAGE = ("nan", "one_nan", "inf", "huge", "empty", "short", "negative", "unnormalised", "rename")


class RandomOperationNode(Node):
    """See above."""

    def __init__(self, name: str = "random_operation", **options: object) -> None:
        super().__init__(name, **options)
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("seed", 0, "Of everything drawn.", 0, 2**31 - 1, fixed=True)
        declare("garbage", 0.01, "Share of the messages that are garbage.", 0.0, 1.0)
        self._rng = np.random.default_rng(self.parameters["seed"])
        self._weights_out = self.create_publisher(JointState, "gate/weights", SENSOR)
        self._twists_out, self._grippers_out = (
            {s: self.create_publisher(k, f"experts/{s}/{what}", SENSOR) for s in SKILLS}
            for k, what in ((TwistStamped, "twist"), (JointState, "gripper"))
        )
        self._operator_out = (
            self.create_publisher(TwistStamped, "teleop/twist", COMMAND),
            self.create_publisher(JointState, "teleop/gripper", COMMAND),
        )
        self._draw()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DECISION_PERIOD, self._tick, clock=steady)

    def _draw(self) -> None:
        """Another regime, other experts, other wishes."""
        rng = self._rng
        self._regime = str(rng.choice(list(REGIMES), p=list(REGIMES.values())))
        awake = rng.choice(len(SKILLS), rng.integers(1, 4), replace=False)
        self._weights = np.zeros(len(SKILLS))
        self._weights[awake] = rng.dirichlet(np.ones(len(awake)))
        self._velocities = rng.uniform(-2.0, 2.0, (len(SKILLS), 3)) * MAX_SPEED
        self._openings = rng.uniform(-0.05, 0.15, len(SKILLS))

    def _tick(self) -> None:
        if self._rng.random() < 0.1:
            self._draw()
        if self._regime == "nobody":
            return
        stamp = self.get_clock().now().nanoseconds
        weights = dict(zip(SKILLS, self._weights.tolist(), strict=True))
        self._publish(self._weights_out, to_named_values(stamp, weights))
        for i in np.flatnonzero(self._weights):
            skill = SKILLS[i]
            self._publish(self._twists_out[skill], to_twist(stamp, "", self._velocities[i]))
            gripper = to_named_values(stamp, {"gripper": float(self._openings[i])})
            self._publish(self._grippers_out[skill], gripper)
        self._operate(stamp)

    def _operate(self, stamp: int) -> None:
        if self._regime != "operator":
            return
        twists, grippers = self._operator_out
        self._publish(twists, to_twist(stamp, "", self._velocities[0]))
        self._publish(grippers, to_named_values(stamp, {"gripper": float(self._openings[0])}))

    def _publish(self, publisher, message) -> None:
        if self._rng.random() < self.parameters["garbage"]:
            message = corrupted(message, str(self._rng.choice(GARBAGE)))
        publisher.publish(message)


def main() -> int:
    """Console entry."""
    return run_nodes([RandomOperationNode], "random_operation")


if __name__ == "__main__":
    sys.exit(main())
