"""The only node that moves the arm: mixes the experts' actions and keeps every limit."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from moe_robot_control.control.arbitration import MODES, Arbiter, Decision
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.nodes._lifecycle import ManagedNode
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.qos import COMMAND, EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_stamp,
    from_twist,
    pick_positions,
    to_command,
    to_stamp,
    to_twist,
)
from moe_robot_control.policies.spaces import CONTROL_PERIOD, DECISION_PERIOD, SKILLS

_DECISION = round(DECISION_PERIOD * 1e9)


class VelocityCommanderNode(ManagedNode):
    """Publishes joint velocities and gripper openings for ros2_control's controllers.

    In real time it ticks every 10 ms with the newest data, and brings the arm to rest when
    they are older than `max_age`. In lockstep it answers every joint state exactly once, at
    decision ticks after the weights and the actions for that stamp have come.

    The mode is set by parameter `mode` or by the services `~/set_mode/<mode>`, since the
    standard services have none that carries a name. `~/emergency_stop` latches until
    `~/release`.
    """

    def __init__(self, name: str = "velocity_commander", **options: object) -> None:
        super().__init__(name, **options)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("experts", list(SKILLS), "Names of the experts.", fixed=True)
        declare("lockstep", False, "Answer every joint state once, instead of ticking.", fixed=True)
        declare(
            "max_age", 0.3, "Oldest data that may still move the arm [s].", 0.02, 5.0, fixed=True
        )
        declare("mode", "policy", "Who commands the arm.", choices=MODES)
        self.add_post_set_parameters_callback(self._on_parameters)
        self._services_made = False
        self._tick_timer = None
        self._diagnostics_timer = None
        self._arbiter: Arbiter | None = None

    def set_up(self) -> None:
        parameters = self.parameters
        self._arm = ArmConfig.load(parameters["arm"])
        self._commander = Commander(self._arm)
        stopped = self._arbiter is not None and self._arbiter.stopped
        self._arbiter = Arbiter(parameters["experts"], parameters["max_age"], parameters["mode"])
        self._arbiter.stopped = stopped
        self._lockstep = parameters["lockstep"]
        self._joints = (*self._arm.joint_names, self._arm.gripper_joint)
        self._state: tuple[int, np.ndarray] | None = None
        self._answered: tuple[int, list[tuple[Publisher, Float64MultiArray]]] | None = None
        self._held = Decision(None, "no gate weights yet")
        self._width: float | None = None
        self._reason = "no joint states yet"
        self._reported: str | None = None

        topics = self._arm.topics
        self._velocities = self.create_publisher(
            Float64MultiArray, topics["joint_velocity"], COMMAND
        )
        self._grippers = self.create_publisher(Float64MultiArray, topics["gripper"], COMMAND)
        self._twists = self.create_publisher(TwistStamped, "command/twist", SENSOR)
        self._diagnostics = self.create_publisher(DiagnosticArray, "diagnostics", EVENTS)

        subscribe = self.create_subscription
        subscribe(JointState, topics["joint_states"], self._on_joint_states, SENSOR)
        subscribe(JointState, "gate/weights", self._on_weights, SENSOR)
        for name in parameters["experts"]:
            prefix = f"experts/{name}"
            subscribe(TwistStamped, f"{prefix}/twist", partial(self._on_twist, name), SENSOR)
            subscribe(JointState, f"{prefix}/gripper", partial(self._on_gripper, name), SENSOR)
        subscribe(TwistStamped, "teleop/twist", self._on_operator_twist, COMMAND)
        subscribe(JointState, "teleop/gripper", self._on_operator_gripper, COMMAND)

        if not self._services_made:
            self.create_service(Trigger, "~/emergency_stop", self._on_emergency_stop)
            self.create_service(Trigger, "~/release", self._on_release)
            for mode in MODES:
                self.create_service(Trigger, f"~/set_mode/{mode}", partial(self._on_set_mode, mode))
            self._services_made = True
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if not self._lockstep:
            self._tick_timer = self.create_timer(CONTROL_PERIOD, self._tick, clock=steady)
        self._diagnostics_timer = self.create_timer(1.0, self._report, clock=steady)

    def tear_down(self) -> None:
        super().tear_down()
        for timer in (self._tick_timer, self._diagnostics_timer):
            if timer is not None:
                self.destroy_timer(timer)
        self._tick_timer = self._diagnostics_timer = None

    def _on_joint_states(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        try:
            positions = pick_positions(message, self._joints)
        except MessageError as error:
            self.get_logger().error(f"joint_states: {error}", throttle_duration_sec=2.0)
            return
        if self._state is None or stamp < self._state[0]:
            # the beginning, or time was set back: nothing older counts any more
            self._arbiter.reset()
            self._commander.reset(gripper_open=bool(positions[-1] > self._half_open))
            self._held = Decision(None, "no gate weights yet")
            self._answered = None
            self._width = None
        self._state = stamp, positions
        if self._answered is not None and self._answered[0] == stamp:
            for publisher, command in self._answered[1]:
                publisher.publish(command)
        self._answer()

    @property
    def _half_open(self) -> float:
        return 0.5 * self._arm.max_gripper_width

    def _on_weights(self, message: JointState) -> None:
        try:
            weights = from_named_values(message)
        except MessageError as error:
            self.get_logger().error(f"gate/weights: {error}", throttle_duration_sec=2.0)
            return
        self._arbiter.set_weights(from_stamp(message.header.stamp), weights)
        self._answer()

    def _on_twist(self, expert: str, message: TwistStamped) -> None:
        self._arbiter.set_twist(expert, from_stamp(message.header.stamp), from_twist(message))
        self._answer()

    def _on_gripper(self, expert: str, message: JointState) -> None:
        if message.position:
            stamp = from_stamp(message.header.stamp)
            self._arbiter.set_gripper(expert, stamp, message.position[0])
            self._answer()

    def _on_operator_twist(self, message: TwistStamped) -> None:
        self._arbiter.set_operator_twist(from_stamp(message.header.stamp), from_twist(message))

    def _on_operator_gripper(self, message: JointState) -> None:
        if message.position:
            self._arbiter.set_operator_gripper(message.position[0])

    def _answer(self) -> None:
        """Lockstep: answer the last joint state, if all that it needs is here."""
        if not self._lockstep or self._state is None:
            return
        stamp, positions = self._state
        if self._answered is not None and self._answered[0] == stamp:
            return
        decision = self._lockstep_decision(stamp, positions[-1])
        if decision is None:
            return
        self._answered = stamp, self._command(decision, positions, stamp)

    def _lockstep_decision(self, stamp: int, width: float) -> Decision | None:
        arbiter = self._arbiter
        if not self.is_active:
            return Decision(None, "inactive")
        if arbiter.inhibition or arbiter.mode == "teleop":
            self._held = Decision(None, "no action since the policies took over")
            return arbiter.decide(stamp, width)
        if stamp % _DECISION == 0:
            missing = arbiter.missing(stamp)
            if missing:
                self._reason = f"waiting for {missing[0]}"
                return None
            self._held = arbiter.answer(stamp)
        return self._held

    def _tick(self) -> None:
        """Real time: command by the newest data."""
        if self._state is None:
            return
        stamp, positions = self._state
        now = self.get_clock().now().nanoseconds
        age = now - stamp
        if not self.is_active:
            decision = Decision(None, "inactive")
        elif age > self._arbiter.max_age:
            decision = Decision(None, f"joint states are stale: {age * 1e-9:.2f} s old")
        else:
            decision = self._arbiter.decide(now, positions[-1])
        self._command(decision, positions, None)

    def _command(
        self, decision: Decision, positions: np.ndarray, stamp: int | None
    ) -> list[tuple[Publisher, Float64MultiArray]]:
        q = positions[None, :-1]
        if decision.action is None:
            velocity = self._commander.stop()
            if self._width is None:
                self._width = float(positions[-1])
        else:
            velocity, width = self._commander.step(q, decision.action[None])
            self._width = float(width[0])
        commands = [
            (self._grippers, to_command(stamp, [self._width])),
            (self._velocities, to_command(stamp, velocity[0])),
        ]
        for publisher, command in commands:
            publisher.publish(command)
        if decision.action is not None and self._twists.get_subscription_count():
            twist = to_twist(decision.stamp, self._arm.base_frame, decision.action[:3])
            self._twists.publish(twist)
        self._reason = decision.reason
        # ages within a reason change all the time: only another kind of reason is news
        if self._reported is None or _kind(self._reason) != _kind(self._reported):
            self._report()
        return commands

    def _report(self) -> None:
        moving = not self._reason
        level = DiagnosticStatus.OK if moving else DiagnosticStatus.WARN
        if self._arbiter.stopped:
            level = DiagnosticStatus.ERROR
        status = DiagnosticStatus(
            level=level,
            name=f"{self.get_name()}: command",
            message="moving" if moving else f"standing still: {self._reason}",
            hardware_id=self._arm.name,
            values=[KeyValue(key="mode", value=self._arbiter.mode)],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(self.get_clock().now().nanoseconds)
        self._diagnostics.publish(message)
        self._reported = self._reason

    def _on_emergency_stop(
        self, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._arbiter.stopped = True
        return self._done(response, "stopped until ~/release")

    def _on_release(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._arbiter.stopped = False
        return self._done(response, f"released in mode {self._arbiter.mode}")

    def _on_set_mode(
        self, mode: str, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self.set_parameters([Parameter("mode", value=mode)])
        return self._done(response, f"mode {mode}")

    def _on_parameters(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name == "mode" and self._arbiter is not None:
                self._arbiter.mode = parameter.value
                self._answer()

    def _done(self, response: Trigger.Response, text: str) -> Trigger.Response:
        self.get_logger().info(text)
        self._answer()
        response.success, response.message = True, text
        return response


def _kind(reason: str) -> str:
    return reason.partition(":")[0]


def main() -> int:
    """Console entry."""
    return run_nodes([VelocityCommanderNode], "velocity_commander")


if __name__ == "__main__":
    sys.exit(main())
