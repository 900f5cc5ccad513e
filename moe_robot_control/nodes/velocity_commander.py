"""The only node that moves the arm: mixes the experts' actions and keeps every limit."""

from __future__ import annotations

import collections
import re
import sys
import time
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker

from moe_robot_control.control.arbitration import MODES, Arbiter, Decision
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.commander import Commander
from moe_robot_control.control.outputs import HORIZON, TrajectoryPoint, tip_twist
from moe_robot_control.control.prediction import Prediction
from moe_robot_control.control.ramp import STOP_TIME
from moe_robot_control.control.watchdog import JointWatch
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._lifecycle import ManagedNode
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.audience import Audience
from moe_robot_control.nodes.priority import go_first
from moe_robot_control.nodes.qos import COMMAND, EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_named_values,
    from_stamp,
    from_twist,
    pick_positions,
    pick_velocities,
    to_arrow,
    to_command,
    to_named_values,
    to_stamp,
    to_trajectory,
    to_twist,
)
from moe_robot_control.policies.spaces import CONTROL_PERIOD, DECISION_PERIOD, SKILLS

_DECISION = round(DECISION_PERIOD * 1e9)
_GAP = 0.09
"""After so long without a tick of its own the node looks how the arm moves now [s]."""
_LAST_WORD = 0.5
"""Longest wait for the driver to have the last command before the node ends [s]."""
_TIMED = 1000
"""Ticks whose compute time diagnostics tell of."""


class CommanderError(MoeRobotControlError):
    """Settings of the commander that do not go together."""


class VelocityCommanderNode(ManagedNode):
    """Publishes what the arm's driver takes (`ArmConfig.output`) and gripper openings.

    In real time it ticks every 10 ms with the newest data, and brings the arm to rest when
    they are older than their deadlines or cannot be trusted. In lockstep it answers every joint
    state exactly once, at decision ticks after the weights and the actions for that stamp have
    come.

    The mode is set by parameter `mode` or by the services `~/set_mode/<mode>`, since the
    standard services have none that carries a name. An operator's twists win in every mode but
    idle while they come. `~/emergency_stop`, or true on the arm's topic for it, latches until
    `~/release`.
    """

    def __init__(self, name: str = "velocity_commander", **options: object) -> None:
        super().__init__(name, **options)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("experts", list(SKILLS), "Names of the experts.", fixed=True)
        declare("lockstep", False, "Answer every joint state once, instead of ticking.", fixed=True)
        declare("dry_run", False, "Send the arm nothing; command/* tells what.", fixed=True)
        declare(
            "max_age",
            0.3,
            "Oldest weights and actions that may still move the arm [s].",
            0.02,
            5.0,
            fixed=True,
        )
        declare(
            "joint_state_deadline",
            0.1,
            "Oldest joint state by which the arm may still move [s].",
            0.02,
            5.0,
            fixed=True,
        )
        declare(
            "operator_deadline",
            0.2,
            "Oldest twist of an operator that still counts [s].",
            0.02,
            5.0,
            fixed=True,
        )
        declare(
            "driver_patience",
            2.0,
            "Longest wait, before the arm moves, for its driver to listen; not in lockstep [s].",
            0.0,
            60.0,
            fixed=True,
        )
        declare(
            "missing_share",
            0.1,
            "Largest weight of experts that are not waited for.",
            0.0,
            0.5,
            fixed=True,
        )
        declare(
            "latency",
            0.03,
            "From a command to the joint state that shows it, beside its age; not in lockstep [s].",
            0.0,
            0.3,
            fixed=True,
        )
        declare(
            "speed_scale",
            1.0,
            "Share of the wanted end-effector speed that the arm gets.",
            0.01,
            1.0,
            fixed=True,
        )
        declare(
            "thread_priority",
            40,
            "Real-time priority (FIFO) of the process in real time, where allowed; 0: ordinary.",
            0,
            98,
            fixed=True,
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
        self._lockstep = parameters["lockstep"]
        if self._lockstep and (parameters["dry_run"] or self._arm.output != "joint_velocity"):
            raise CommanderError(
                "parameter 'lockstep': a simulation that waits for every answer needs joint "
                "velocities; not with 'dry_run' or another output"
            )
        self._commander = Commander(self._arm)
        self._watch = JointWatch(self._arm, parameters["joint_state_deadline"])
        self._prediction = Prediction(parameters["latency"])
        self._point = TrajectoryPoint(self._arm)
        stopped = self._arbiter is not None and self._arbiter.stopped
        self._arbiter = Arbiter(
            parameters["experts"],
            parameters["max_age"],
            parameters["mode"],
            parameters["operator_deadline"],
            parameters["missing_share"],
        )
        self._arbiter.stopped = stopped
        self._joints = (*self._arm.joint_names, self._arm.gripper_joint)
        self._state: tuple[int, np.ndarray] | None = None
        self._answered: tuple[int, list[tuple[Publisher, Float64MultiArray]]] | None = None
        self._held = Decision(None, "no gate weights yet")
        self._width: float | None = None
        self._decision = Decision(None, "no joint states yet")
        self._reported: str | None = None
        self._ticked: float | None = None
        self._resuming = False
        self._silent_until = 0.0
        self._scale = np.array([*[parameters["speed_scale"]] * 3, 1.0])
        self._measured_velocity: np.ndarray | None = None
        self._times: collections.deque[tuple[float, float]] = collections.deque(maxlen=_TIMED)
        self._told_source: tuple[int, dict[str, float]] | None = None
        self._make_publishers()
        self._make_subscriptions()
        if not self._services_made:
            self._make_services()
            self._services_made = True
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if not self._lockstep:
            self._tick_timer = self.create_timer(CONTROL_PERIOD, self._tick, clock=steady)
        self._diagnostics_timer = self.create_timer(1.0, self._report, clock=steady)

    def _make_publishers(self) -> None:
        topics, publisher = self._arm.topics, self.create_publisher
        parameters = self.parameters
        kind = {
            "joint_velocity": Float64MultiArray,
            "servo_twist": TwistStamped,
            "joint_trajectory": JointTrajectory,
        }[self._arm.output]
        self._output = self._grippers = None
        if not parameters["dry_run"]:
            self._output = publisher(kind, topics[self._arm.output], COMMAND)
            self._grippers = publisher(Float64MultiArray, topics["gripper"], COMMAND)
            self._audience = Audience(
                self, self._output, topics["joint_states"], parameters["driver_patience"]
            )
        self._twists = publisher(TwistStamped, "command/twist", SENSOR)
        self._told_velocities = publisher(Float64MultiArray, "command/joint_velocity", SENSOR)
        self._told_widths = publisher(Float64MultiArray, "command/gripper", SENSOR)
        self._sources = publisher(JointState, "command/source", SENSOR)
        self._markers = publisher(Marker, "command/marker", EVENTS)
        self._diagnostics = publisher(DiagnosticArray, "diagnostics", EVENTS)

    def _make_subscriptions(self) -> None:
        topics, subscribe = self._arm.topics, self.create_subscription
        subscribe(JointState, topics["joint_states"], self._on_joint_states, SENSOR)
        subscribe(JointState, "gate/weights", self._on_weights, SENSOR)
        for name in self.parameters["experts"]:
            prefix = f"experts/{name}"
            subscribe(TwistStamped, f"{prefix}/twist", partial(self._on_twist, name), SENSOR)
            subscribe(JointState, f"{prefix}/gripper", partial(self._on_gripper, name), SENSOR)

        def on_operator_twist(message: TwistStamped, info: dict) -> None:
            # rclpy tells a callback's kind from its signature, which a bound method hides
            self._on_operator_twist(message, info)

        # the opening first: of two that came together, messages are taken in this order
        subscribe(JointState, "teleop/gripper", self._on_operator_gripper, COMMAND)
        subscribe(TwistStamped, "teleop/twist", on_operator_twist, COMMAND)
        subscribe(Bool, topics["emergency_stop"], self._on_emergency_stop_topic, COMMAND)

    def _make_services(self) -> None:
        stop = self.create_service(Trigger, "~/emergency_stop", self._on_emergency_stop)
        self.urgent_services = [stop]
        self.create_service(Trigger, "~/release", self._on_release)
        for mode in MODES:
            callback = partial(self._on_set_mode, mode)
            self.urgent_services.append(
                self.create_service(Trigger, f"~/set_mode/{mode}", callback)
            )

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
            self._watch.reject(str(error))
            if self._lockstep:
                self.get_logger().error(f"joint_states: {error}", throttle_duration_sec=2.0)
            return
        if not np.isfinite(positions[-1]):
            self._watch.reject(f"position of joint {self._arm.gripper_joint!r} is not finite")
            return
        positions[-1] = self._arm.gripper_opening(positions[-1])
        if not self._lockstep and self._watch.is_late(stamp):
            return
        if self._state is None or stamp < self._state[0]:
            self._start_anew(positions)
        self._watch.measure(stamp, positions[:-1])
        self._state = stamp, positions
        self._measured_velocity = pick_velocities(message, self._arm.joint_names)
        self._silent_until = 0.0
        if self._answered is not None and self._answered[0] == stamp:
            for publisher, command in self._answered[1]:
                publisher.publish(command)
        self._answer()

    def _start_anew(self, positions: np.ndarray) -> None:
        """The beginning, or time was set back: nothing older counts any more."""
        self._arbiter.reset()
        if self._lockstep or self._state is None or self._watch.is_elsewhere(positions[:-1]):
            # a simulation began anew; an arm whose clock was set back goes on as it moves
            half_open = 0.5 * self._arm.max_gripper_width
            self._commander.reset(gripper_open=bool(positions[-1] > half_open))
            self._resuming = not self._lockstep
            self._width = None
        self._prediction.reset()
        self._watch.reset()
        self._held = Decision(None, "no gate weights yet")
        self._answered = None

    def _on_weights(self, message: JointState) -> None:
        try:
            weights = from_named_values(message)
        except MessageError as error:
            self._arbiter.reject_weights(str(error))
            return
        self._arbiter.set_weights(from_stamp(message.header.stamp), weights)
        self._answer()

    def _on_twist(self, expert: str, message: TwistStamped) -> None:
        self._arbiter.set_twist(expert, from_stamp(message.header.stamp), from_twist(message))
        self._answer()

    def _on_gripper(self, expert: str, message: JointState) -> None:
        width = message.position[0] if message.position else float("nan")
        self._arbiter.set_gripper(expert, from_stamp(message.header.stamp), width)
        self._answer()

    def _on_operator_twist(self, message: TwistStamped, info: dict) -> None:
        # publishers have unique ids (GUIDs of DDS): two of them are two operators
        operator = str(info.get("publisher_gid"))
        stamp = from_stamp(message.header.stamp)
        self._arbiter.set_operator_twist(stamp, from_twist(message), operator)

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
        if arbiter.inhibition or arbiter.mode == "teleop" or arbiter.has_operator(stamp):
            self._held = Decision(None, "no action since the policies took over")
            return arbiter.decide(stamp, width)
        if stamp % _DECISION == 0:
            missing = arbiter.missing(stamp)
            if missing:
                self._decision = Decision(None, f"waiting for {missing[0]}")
                return None
            self._held = arbiter.answer(stamp)
        return self._held

    def _tick(self) -> None:
        """Real time: command by the newest data."""
        last, self._ticked = self._ticked, time.monotonic()
        if last is not None and self._ticked - last > _GAP:
            # what was measured before the gap is old, and newer messages wait to be taken
            self._measured_velocity = None
            self._resuming = True
            self._silent_until = self._ticked + self.parameters["joint_state_deadline"]
            self._prediction.reset()
            return
        now = self.get_clock().now().nanoseconds
        if not self.is_active:
            decision = Decision(None, "inactive")
        elif self._arbiter.stopped:
            decision = self._arbiter.decide(now)
        elif fault := self._watch.fault(now):
            decision = Decision(None, fault)
        else:
            decision = self._arbiter.decide(now, self._state[1][-1])
        if decision.action is not None and not self._is_heard():
            decision = Decision(None, f"nobody listens to {self._output.topic_name}")
        # after a gap the arm may have braked: until a joint state tells, no command is better than
        # one that goes on from the speed before
        if self._state is not None and self._ticked >= self._silent_until:
            self._command(decision, self._state[1], None)
        else:
            self._note(decision)

    def _is_heard(self) -> bool:
        """Whether the arm's driver takes what is sent; in a dry run nothing is."""
        return self._output is None or self._audience.hears(self._ticked, self._commander.at_rest)

    def _command(
        self, decision: Decision, positions: np.ndarray, stamp: int | None
    ) -> list[tuple[Publisher, Float64MultiArray]]:
        now = self.get_clock().now().nanoseconds
        begin = time.thread_time(), time.perf_counter()
        if self._resuming and self._measured_velocity is not None:
            self._commander.resume(self._measured_velocity)
        self._resuming = False
        if decision.action is None:
            velocity = self._commander.stop()[0]
            if self._width is None:
                arm = self._arm
                self._width = float(
                    np.clip(positions[-1], arm.min_gripper_width, arm.max_gripper_width)
                )
        else:
            action = decision.action * self._scale
            q = positions[:-1]
            if not self._lockstep:
                q = self._prediction.now(now * 1e-9, q, self._watch.age(now))
            velocities, width = self._commander.step(q[None], action[None])
            velocity, self._width = velocities[0], float(width[0])
        self._prediction.commanded(now * 1e-9, velocity)
        self._times.append((time.thread_time() - begin[0], time.perf_counter() - begin[1]))
        commands = []
        gripper = to_command(stamp, [self._arm.gripper_position(self._width)])
        if self._output is not None:
            output = self._to_output(stamp, positions[:-1], velocity)
            commands = [(self._grippers, gripper), (self._output, output)]
        for publisher, command in commands:
            publisher.publish(command)
        self._tell(decision, velocity, gripper)
        self._note(decision)
        return commands

    def _to_output(
        self, stamp: int | None, q: np.ndarray, velocity: np.ndarray
    ) -> Float64MultiArray | TwistStamped | JointTrajectory:
        """The message that makes the arm's driver move the joints at `velocity`."""
        if self._arm.output == "joint_velocity":
            return to_command(stamp, velocity)
        if self._arm.output == "servo_twist":
            twist = tip_twist(self._commander.kinematics, q, velocity)
            now = self.get_clock().now().nanoseconds
            return to_twist(now, self._arm.base_frame, twist[:3], twist[3:])
        target = self._point.after(q, velocity)
        return to_trajectory(self._arm.joint_names, target, velocity, HORIZON)

    def _tell(self, decision: Decision, velocity: np.ndarray, gripper: Float64MultiArray) -> None:
        """Publish on command/* for those who watch."""
        if decision.action is not None and self._twists.get_subscription_count():
            twist = to_twist(decision.stamp, self._arm.base_frame, decision.action[:3])
            self._twists.publish(twist)
        if self._told_velocities.get_subscription_count():
            self._told_velocities.publish(to_command(None, velocity))
        if self._told_widths.get_subscription_count():
            self._told_widths.publish(gripper)
        self._tell_source(decision)

    def _tell_source(self, decision: Decision) -> None:
        """Publish mode and who commands, every decision period and when it changes."""
        watched = self._sources.get_subscription_count() or self._markers.get_subscription_count()
        if not watched:
            return
        now = self._state[0] if self._lockstep else self.get_clock().now().nanoseconds
        source = {mode: float(mode == self._arbiter.mode) for mode in MODES}
        source["operator"] = float(decision.source == "operator")
        source["moving"] = float(decision.action is not None)
        told = self._told_source
        if told is None or source != told[1] or not 0 <= now - told[0] < _DECISION:
            self._sources.publish(to_named_values(now, source))
            self._told_source = now, source
            if self._markers.get_subscription_count():
                self._markers.publish(self._arrow(now, decision))

    def _arrow(self, stamp: int, decision: Decision) -> Marker:
        """The wanted velocity at the tip, one second long; orange while the operator's."""
        tip, _ = self._commander.kinematics.forward(self._state[1][:-1])
        velocity = np.zeros(3) if decision.action is None else decision.action[:3]
        colour = (0.9, 0.5, 0.1) if decision.source == "operator" else (0.2, 0.5, 0.9)
        return to_arrow(stamp, self._arm.base_frame, tip, tip + velocity, colour)

    def _note(self, decision: Decision) -> None:
        self._decision = decision
        # ages within a reason change all the time: only another kind of reason is news
        if self._reported is None or _kind(self._message) != _kind(self._reported):
            self._log()
            self._report()

    @property
    def _message(self) -> str:
        """What the arm does and why, in plain words."""
        decision = self._decision
        if decision.reason:
            return f"standing still: {decision.reason}"
        text = "moving by the operator" if decision.source == "operator" else "moving"
        return f"{text} without {', '.join(decision.without)}" if decision.without else text

    def _log(self) -> None:
        logger = self.get_logger()
        if self._arbiter.stopped:
            logger.error(self._message)
        elif self._decision.reason:
            logger.warning(self._message)
        else:
            logger.info(self._message)

    def _report(self) -> None:
        decision = self._decision
        level = DiagnosticStatus.OK
        if decision.reason or decision.without:
            level = DiagnosticStatus.WARN
        if self._arbiter.stopped:
            level = DiagnosticStatus.ERROR
        now = self.get_clock().now().nanoseconds
        ages = {"joint_states": self._watch.age(now), **self._arbiter.ages(now)}
        values = {
            "mode": self._arbiter.mode,
            "source": decision.source,
            "output": self._arm.output,
            "dry_run": str(self.parameters["dry_run"]).lower(),
            "slowed_by": self._commander.slowed_by,
            "without": ", ".join(decision.without),
            **{f"age {name}": f"{age:.3f}" for name, age in ages.items() if age is not None},
            **self._timing(),
        }
        status = DiagnosticStatus(
            level=level,
            name=f"{self.get_name()}: command",
            message=self._message,
            hardware_id=self._arm.name,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(now)
        self._diagnostics.publish(message)
        self._reported = self._message

    def _timing(self) -> dict[str, str]:
        """How long the last commands took: of the processor, and with waiting for it."""
        if not self._times:
            return {}
        shares = {"p50": 50, "p99": 99, "max": 100}
        columns = 1e3 * np.percentile(np.array(self._times), list(shares.values()), axis=0).T
        return {
            f"{what} {share} [ms]": f"{value:.3f}"
            for what, column in zip(("compute", "elapsed"), columns, strict=True)
            for share, value in zip(shares, column, strict=True)
        }

    def come_to_rest(self) -> None:
        """Ramp to zero before the node ends: some drivers repeat the last command for ever."""
        if self._tick_timer is None or self._state is None:
            return
        for _ in range(round(STOP_TIME / CONTROL_PERIOD)):
            self._command(Decision(None, "the node ends"), self._state[1], None)
            time.sleep(CONTROL_PERIOD)
        if self._output is not None:
            # a process that ends takes with it what its reader has not fetched yet
            self._output.wait_for_all_acked(Duration(seconds=_LAST_WORD))

    def _on_emergency_stop_topic(self, message: Bool) -> None:
        if message.data and not self._arbiter.stopped:
            self._arbiter.stopped = True
            self._answer()

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


def _kind(message: str) -> str:
    """A message less its measured numbers: `standing still: gate weights are stale:  s old`."""
    return re.sub(r"\d+\.\d+", "", message)


def _build() -> VelocityCommanderNode:
    """The node in a process of its own, which goes before ordinary ones as ros2_control's does."""
    node = VelocityCommanderNode()
    priority = node.parameters["thread_priority"]
    if priority and not node.parameters["lockstep"] and not go_first(priority):
        node.get_logger().info(
            f"parameter 'thread_priority': {priority} is not allowed here: at ordinary priority "
            "other processes can delay commands"
        )
    return node


def main() -> int:
    """Console entry."""
    return run_nodes([_build], "velocity_commander")


if __name__ == "__main__":
    sys.exit(main())
