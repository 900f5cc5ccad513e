"""One skill's expert: from its own objects and the end effector to velocity and gripper."""

from __future__ import annotations

import sys

import numpy as np
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes._scene import SceneNode
from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_stamp,
    to_named_values,
    to_twist,
)
from moe_robot_control.policies.runtime import OnnxPolicy, load_expert
from moe_robot_control.policies.spaces import SKILL_OBJECTS, SKILLS, Scene, expert_observation


class ExpertPolicyNode(SceneNode):
    """Acts on every observation to which the gate gives it a weight above zero; else sleeps.

    Publishes `experts/<skill>/twist` (base frame, m/s) and `experts/<skill>/gripper`
    (opening in m), both with the observation's stamp.
    """

    def __init__(self, name: str = "expert_policy", **options: object) -> None:
        super().__init__(name, **options)
        self.parameters.declare(
            "skill", SKILLS[0], "The skill of this expert.", choices=SKILLS, fixed=True
        )
        self.parameters.declare(
            "gated",
            True,
            "Sleep while the gate's weight is zero; false: act on every observation.",
            fixed=True,
        )
        self._policy: OnnxPolicy | None = None
        self._scene: tuple[int, Scene] | None = None
        self._weights: dict[int, float] = {}

    def set_up(self) -> None:
        skill = self.parameters["skill"]
        self._skill = skill
        self._policy = load_expert(skill, self.model_directory)
        prefix = f"experts/{skill}"
        self._twists = self.create_publisher(TwistStamped, f"{prefix}/twist", SENSOR)
        self._grippers = self.create_publisher(JointState, f"{prefix}/gripper", SENSOR)
        self.subscribe_scene(SKILL_OBJECTS[skill])
        if self.parameters["gated"]:
            self.create_subscription(JointState, "gate/weights", self._on_weights, SENSOR)

    def tear_down(self) -> None:
        super().tear_down()
        self._policy = None
        self._scene = None
        self._weights.clear()

    def on_scene(self, stamp: int, scene: Scene) -> None:
        self._scene = stamp, scene
        if not self.parameters["gated"] or self._weights.get(stamp, 0.0) > 0:
            self._act()

    def _on_weights(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        try:
            weight = from_named_values(message).get(self._skill, 0.0)
        except MessageError as error:
            self.complain(f"gate/weights: {error}")
            return
        self._weights[stamp] = weight
        while len(self._weights) > 8:
            del self._weights[next(iter(self._weights))]
        if weight > 0 and self._scene is not None and self._scene[0] == stamp:
            self._act()

    def _act(self) -> None:
        if not self.is_active:
            return
        stamp, scene = self._scene
        try:
            action = np.asarray(self._policy(expert_observation(scene, self._skill))).reshape(-1)
        except MoeRobotControlError as error:
            self.complain(str(error))
            return
        self._twists.publish(to_twist(stamp, self.arm.base_frame, action[:3]))
        gripper = to_named_values(stamp, {self.arm.gripper_joint: float(action[3])})
        self._grippers.publish(gripper)


def main() -> int:
    """Console entry."""
    return run_nodes([ExpertPolicyNode], "expert_policy")


if __name__ == "__main__":
    sys.exit(main())
