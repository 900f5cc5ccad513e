"""The gate: from the whole scene to one weight for each expert."""

from __future__ import annotations

import sys

import numpy as np
from sensor_msgs.msg import JointState
from visualization_msgs.msg import Marker, MarkerArray

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes._scene import SceneNode
from moe_robot_control.nodes.qos import COMMAND, EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_stamp,
    to_named_values,
    to_stamp,
)
from moe_robot_control.policies.gating import (
    HOLD,
    MINIMUM_WEIGHT,
    HeldWeights,
    OperatorWeights,
    one_hot,
    sparsify,
)
from moe_robot_control.policies.runtime import OnnxPolicy, load_gate
from moe_robot_control.policies.spaces import OBJECTS, SKILLS, Scene, gate_observation


class ManipulationNetworkNode(SceneNode):
    """Publishes `gate/weights` (names and weights of sum 1) with the observation's stamp.

    An operator's fresh `teleop/weights` take the place of the network's own.
    """

    def __init__(self, name: str = "manipulation_network", **options: object) -> None:
        super().__init__(name, **options)
        declare = self.parameters.declare
        declare("top_k", len(SKILLS), "Keep this many of the largest weights.", 1, len(SKILLS))
        declare(
            "minimum_weight",
            MINIMUM_WEIGHT,
            "Weights below this become zero, so that their experts sleep.",
            0.0,
            1.0,
        )
        declare("hold", HOLD, "Keep to a decision for this long [s].", 0.0, 10.0)
        declare(
            "fixed_expert",
            "",
            "Give this expert the whole weight instead of asking the network; empty: ask.",
            choices=("", *SKILLS),
        )
        declare(
            "operator_deadline",
            0.5,
            "Weights of the operator are fresh for so long [s].",
            0.02,
            5.0,
            fixed=True,
        )
        declare("operator_only", False, "Without weights of the operator, publish none.")
        self._policy: OnnxPolicy | None = None
        self._held = HeldWeights()

    def set_up(self) -> None:
        # with a fixed expert the network is not needed until the parameter is cleared
        self._policy = None
        self._held = HeldWeights(self.parameters["hold"])
        self._operator = OperatorWeights(SKILLS, self.parameters["operator_deadline"])
        if not self.parameters["fixed_expert"] and not self.parameters["operator_only"]:
            self._policy = load_gate(self.model_directory)
        self._publisher = self.create_publisher(JointState, "gate/weights", SENSOR)
        self._markers = self.create_publisher(MarkerArray, "gate/markers", EVENTS)
        self.create_subscription(JointState, "teleop/weights", self._on_operator, COMMAND)
        self.subscribe_scene(OBJECTS)

    def _on_operator(self, message: JointState) -> None:
        try:
            self._operator.set(from_stamp(message.header.stamp), from_named_values(message))
        except (MessageError, ValueError) as error:
            self.complain(f"teleop/weights: {error}")

    def on_scene(self, stamp: int, scene: Scene) -> None:
        if not self.is_active:
            return
        try:
            weights = self._operator.at(stamp)
            if weights is None and self.parameters["operator_only"]:
                return
            if weights is None:
                weights = self._weights(stamp, scene)
        except (MoeRobotControlError, ValueError) as error:
            self.complain(str(error))
            return
        values = dict(zip(SKILLS, weights.tolist(), strict=True))
        self._publisher.publish(to_named_values(stamp, values))
        if self._markers.get_subscription_count():
            self._markers.publish(self._bars(stamp, weights))

    def _weights(self, stamp: int, scene: Scene) -> np.ndarray:
        fixed = self.parameters["fixed_expert"]
        if fixed:
            return one_hot(SKILLS.index(fixed), len(SKILLS))
        if self._policy is None:
            self._policy = load_gate(self.model_directory)
        return self._held.update(stamp, lambda: self._decide(scene))

    def _decide(self, scene: Scene) -> np.ndarray:
        raw = np.asarray(self._policy(gate_observation(scene))).reshape(-1)
        return sparsify(raw, self.parameters["top_k"], self.parameters["minimum_weight"])

    def _bars(self, stamp: int, weights: np.ndarray) -> MarkerArray:
        array = MarkerArray()
        for i, (skill, weight) in enumerate(zip(SKILLS, weights, strict=True)):
            bar = Marker(ns="gate", id=2 * i, type=Marker.CUBE)
            bar.scale.x = bar.scale.y = 0.04
            bar.scale.z = max(0.3 * float(weight), 1e-3)
            bar.pose.position.x, bar.pose.position.y = -0.3, 0.3 - 0.1 * i
            bar.pose.position.z = bar.scale.z / 2
            bar.color.r, bar.color.g, bar.color.b, bar.color.a = 0.2, 0.5, 0.9, 0.9
            text = Marker(ns="gate", id=2 * i + 1, type=Marker.TEXT_VIEW_FACING)
            text.text = f"{skill} {weight:.2f}"
            text.scale.z = 0.03
            text.pose.position.x, text.pose.position.y = -0.3, 0.3 - 0.1 * i
            text.pose.position.z = bar.scale.z + 0.03
            text.color.r = text.color.g = text.color.b = text.color.a = 1.0
            for marker in (bar, text):
                marker.header.stamp = to_stamp(stamp)
                marker.header.frame_id = self.arm.base_frame
                array.markers.append(marker)
        return array


def main() -> int:
    """Console entry."""
    return run_nodes([ManipulationNetworkNode], "manipulation_network")


if __name__ == "__main__":
    sys.exit(main())
