"""An expert that counts what reached it, and what it answered.

`~/counts` (latched JSON, five times a second): observations that came with a weight for the skill,
and how many of these have no answer. What the middleware loses on the way is in neither.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.expert_policy import ExpertPolicyNode
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.ros_messages import from_stamp
from moe_robot_control.policies.runtime import LoadedPolicy
from moe_robot_control.policies.spaces import Scene


class CountedExpertNode(ExpertPolicyNode):
    """Counts by stamps; of a lightly loaded moment's last ones the answer may be under way."""

    def __init__(self, name: str = "expert_policy", **options: object) -> None:
        super().__init__(name, **options)
        self._observed: set[int] = set()
        self._weighed: set[int] = set()
        self._answered: set[int] = set()
        self._counts = self.create_publisher(String, "~/counts", LATCHED)
        self.create_timer(0.2, self._tell, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_scene(self, stamp: int, scene: Scene) -> None:
        self._observed.add(stamp)
        super().on_scene(stamp, scene)

    def _on_weights(self, message: JointState) -> None:
        self._weighed.add(from_stamp(message.header.stamp))
        super()._on_weights(message)

    def _answer(self, stamp: int, skill: str, policy: LoadedPolicy, scene: Scene) -> np.ndarray:
        answer = super()._answer(stamp, skill, policy, scene)
        self._answered.add(stamp)
        return answer

    def _tell(self) -> None:
        asked = self._observed & self._weighed
        counts = {"asked": len(asked), "unanswered": len(asked - self._answered)}
        self._counts.publish(String(data=json.dumps(counts)))


def main() -> int:
    """Console entry."""
    return run_nodes([CountedExpertNode], "counted_expert")


if __name__ == "__main__":
    sys.exit(main())
