"""An expert, or one policy for all: from objects and end effector to velocity and gripper."""

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
from moe_robot_control.policies.runtime import Policy, PolicyLoadError, load_experts
from moe_robot_control.policies.spaces import (
    OBJECTS,
    SKILL_OBJECTS,
    SKILLS,
    Scene,
    expert_observation,
)

ALL = "all"


class ExpertPolicyNode(SceneNode):
    """Acts on every observation to which the gate gives its skill a weight above zero.

    Publishes `experts/<skill>/twist` (base frame, m/s) and `experts/<skill>/gripper`
    (opening in m), both with the observation's stamp. With `shared_policy` one network serves
    all skills: it acts for each that has a weight.
    """

    def __init__(self, name: str = "expert_policy", **options: object) -> None:
        super().__init__(name, **options)
        self.parameters.declare(
            "skill",
            SKILLS[0],
            "The skill of this expert; with a shared policy `all` of them.",
            choices=(*SKILLS, ALL),
            fixed=True,
        )
        self.parameters.declare(
            "shared_policy",
            "",
            "Name of one network that serves every skill; empty: the skill's own.",
            fixed=True,
        )
        self.parameters.declare(
            "gated",
            True,
            "Sleep while the gate's weight is zero; false: act on every observation.",
            fixed=True,
        )
        self._policies: dict[str, Policy] = {}
        self._scene: tuple[int, Scene] | None = None
        self._weights: dict[int, dict[str, float]] = {}

    def set_up(self) -> None:
        skill, shared = self.parameters["skill"], self.parameters["shared_policy"]
        if skill == ALL and not shared:
            raise PolicyLoadError(f"skill is {ALL!r}, but shared_policy names no network")
        skills = SKILLS if skill == ALL else (skill,)
        self._policies = load_experts(self.model_directory, shared, skills)
        self._twists = {
            name: self.create_publisher(TwistStamped, f"experts/{name}/twist", SENSOR)
            for name in skills
        }
        self._grippers = {
            name: self.create_publisher(JointState, f"experts/{name}/gripper", SENSOR)
            for name in skills
        }
        seen = {name for skill in skills for name in SKILL_OBJECTS[skill]}
        self.subscribe_scene([name for name in OBJECTS if name in seen])
        if self.parameters["gated"]:
            self.create_subscription(JointState, "gate/weights", self._on_weights, SENSOR)

    def tear_down(self) -> None:
        super().tear_down()
        self._policies = {}
        self._scene = None
        self._weights.clear()

    def on_scene(self, stamp: int, scene: Scene) -> None:
        self._scene = stamp, scene
        self._act()

    def _on_weights(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        try:
            weights = from_named_values(message)
        except MessageError as error:
            self.complain(f"gate/weights: {error}")
            return
        self._weights[stamp] = weights
        while len(self._weights) > 8:
            del self._weights[next(iter(self._weights))]
        if self._scene is not None and self._scene[0] == stamp:
            self._act()

    def _act(self) -> None:
        if not self.is_active:
            return
        stamp, scene = self._scene
        weights = self._weights.get(stamp, {})
        for skill, policy in self._policies.items():
            if self.parameters["gated"] and not weights.get(skill, 0.0) > 0:
                continue
            try:
                action = np.asarray(policy(expert_observation(scene, skill))).reshape(-1)
            except MoeRobotControlError as error:
                self.complain(str(error))
                continue
            self._twists[skill].publish(to_twist(stamp, self.arm.base_frame, action[:3]))
            gripper = to_named_values(stamp, {self.arm.gripper_joint: float(action[3])})
            self._grippers[skill].publish(gripper)


def main() -> int:
    """Console entry."""
    return run_nodes([ExpertPolicyNode], "expert_policy")


if __name__ == "__main__":
    sys.exit(main())
