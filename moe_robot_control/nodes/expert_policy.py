"""An expert, or one policy for all: from objects and end effector to velocity and gripper."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes._scene import SceneNode
from moe_robot_control.nodes.qos import LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_stamp,
    to_named_values,
    to_twist,
)
from moe_robot_control.policies.hot_swap import HotSwap
from moe_robot_control.policies.runtime import (
    LoadedPolicy,
    PolicyLoadError,
    load_experts,
    load_gaussian_expert,
)
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_SIZE,
    OBJECTS,
    SKILL_OBJECTS,
    SKILLS,
    Scene,
    expert_observation,
    expert_observation_size,
)

ALL = "all"
KEPT = 16
"""Observations that may wait for the gate's weights, and weights for their observation."""


class ExpertPolicyNode(SceneNode):
    """Acts on every observation to which the gate gives its skill a weight above zero.

    Publishes `experts/<skill>/twist` (base frame, m/s) and `experts/<skill>/gripper`
    (opening in m), both with the observation's stamp. With `shared_policy` one network serves
    all skills: it acts for each that has a weight.

    `~/reload` loads the model's file anew beside the running one, which acts until the new one
    can; `~/version` (latched) says which one acts: skill and hash. An observation is answered by
    one version: where it is repeated, so is its answer. With `gaussian` the model gives mean and
    standard deviation of actions, which are drawn while `exploring`.
    """

    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    """A moment's delay makes answers late, but loses none: at 100 Hz, 0.1 s."""

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
        self.parameters.declare(
            "gaussian",
            False,
            "The model gives mean and standard deviation of the action.",
            fixed=True,
        )
        self.parameters.declare("exploring", False, "Draw actions of a gaussian model.")
        self.parameters.declare("exploration_seed", 0, "Of the draws.", 0, 2**31 - 1, fixed=True)
        self._experts: HotSwap[dict[str, LoadedPolicy]] | None = None
        self._service = None
        self._scenes: dict[int, Scene] = {}
        self._weights: dict[int, dict[str, float]] = {}
        self._answers: dict[tuple[int, str], np.ndarray] = {}

    def set_up(self) -> None:
        skill, shared = self.parameters["skill"], self.parameters["shared_policy"]
        if skill == ALL and not shared:
            raise PolicyLoadError(f"skill is {ALL!r}, but shared_policy names no network")
        skills = SKILLS if skill == ALL else (skill,)
        if self.parameters["gaussian"] and (skill == ALL or shared):
            raise PolicyLoadError("gaussian is for the expert of one skill")
        self._rng = np.random.default_rng(self.parameters["exploration_seed"])
        self._experts = HotSwap(lambda: self._load(skills, shared))
        self._versions = self.create_publisher(String, "~/version", LATCHED)
        self._tell_version(self._experts.current)
        if self._service is None:
            self._service = self.create_service(Trigger, "~/reload", self._on_reload)
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
        if self._experts is not None:
            self._experts.close()
            self._experts = None
        super().tear_down()
        for kept in (self._scenes, self._weights, self._answers):
            kept.clear()

    def _load(self, skills: Sequence[str], shared: str) -> dict[str, LoadedPolicy]:
        if self.parameters["gaussian"]:
            experts = {skill: load_gaussian_expert(skill, self.model_directory) for skill in skills}
        else:
            experts = load_experts(self.model_directory, shared, skills)
        for skill, policy in experts.items():
            # the first answer takes longer, and one that cannot answer is not to act
            policy(np.zeros(expert_observation_size(skill)))
        return experts

    def _on_reload(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._experts is None:
            response.success, response.message = False, "not configured"
            return response
        self._experts.reload().add_done_callback(self._on_reloaded)
        response.success, response.message = True, "loading"
        return response

    def _on_reloaded(self, loaded: Future[dict[str, LoadedPolicy]]) -> None:
        if loaded.cancelled():
            return
        error = loaded.exception()
        if error is None:
            self._tell_version(loaded.result())
        else:
            self.complain(f"the policy stays what it was: {error}")

    def _tell_version(self, experts: dict[str, LoadedPolicy]) -> None:
        versions = {skill: policy.version for skill, policy in experts.items()}
        self._versions.publish(String(data=json.dumps(versions)))

    def on_scene(self, stamp: int, scene: Scene) -> None:
        if self._scenes and stamp < max(self._scenes):  # time was set back
            self._scenes.clear()
            self._answers.clear()
            self._weights = {s: kept for s, kept in self._weights.items() if s <= stamp}
        _keep(self._scenes, stamp, scene)
        self._act(stamp)

    def _on_weights(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        try:
            weights = from_named_values(message)
        except MessageError as error:
            self.complain(f"gate/weights: {error}")
            return
        _keep(self._weights, stamp, weights)
        self._act(stamp)

    def _act(self, stamp: int) -> None:
        """Answer what was seen at `stamp`, if that and its weights are known."""
        scene = self._scenes.get(stamp)
        if scene is None or not self.is_active:
            return
        weights = self._weights.get(stamp, {})
        for skill, policy in self._experts.current.items():
            if self.parameters["gated"] and not weights.get(skill, 0.0) > 0:
                continue
            try:
                action = self._answer(stamp, skill, policy, scene)
            except MoeRobotControlError as error:
                self.complain(str(error))
                continue
            self._twists[skill].publish(to_twist(stamp, self.arm.base_frame, action[:3]))
            gripper = to_named_values(stamp, {self.arm.gripper_joint: float(action[3])})
            self._grippers[skill].publish(gripper)

    def _answer(self, stamp: int, skill: str, policy: LoadedPolicy, scene: Scene) -> np.ndarray:
        """The action, shape (4,); asked again about a stamp, the same one."""
        if (stamp, skill) not in self._answers:
            action = np.asarray(policy(expert_observation(scene, skill))).reshape(-1)
            if self.parameters["exploring"] and self.parameters["gaussian"]:
                action = self._rng.normal(action[:ACTION_SIZE], action[ACTION_SIZE:])
                action = np.clip(action, ACTION_LOW, ACTION_HIGH)
            self._answers = {k: a for k, a in self._answers.items() if k[0] in self._scenes}
            self._answers[stamp, skill] = action[:ACTION_SIZE]
        return self._answers[stamp, skill]


def _keep(kept: dict[int, Any], stamp: int, value: Any) -> None:
    """Keep the value of a stamp; the first of too many go."""
    kept[stamp] = value
    while len(kept) > KEPT:
        del kept[next(iter(kept))]


def main() -> int:
    """Console entry."""
    return run_nodes([ExpertPolicyNode], "expert_policy")


if __name__ == "__main__":
    sys.exit(main())
