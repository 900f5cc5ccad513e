"""The commander node alone, in real time, between a driver and senders that this test plays."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.control.outputs import HORIZON, tip_twist
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import COMMAND, EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import to_named_values, to_twist
from moe_robot_control.policies.spaces import CONTROL_PERIOD
from moe_robot_control.share import share_path

from .client import GraphClient, client_of
from .test_bad_input import Run, check

ARM = ArmConfig.load("panda")
PATIENT = {
    # a busy machine must not look like a fault
    "joint_state_deadline": 2.0,
    "max_age": 2.0,
    "operator_deadline": 1.0,
    "driver_patience": 60.0,
    "experts": "[a, b, c]",
}


class Sender:
    """An arm at rest in its home posture, a gate, three experts and operators."""

    def __init__(self, client: GraphClient, group: ProcessGroup) -> None:
        self.client = client
        node = client.node
        self.q, self.width = ARM.home.copy(), 0.08
        self.names = [*ARM.joint_names, ARM.gripper_joint]
        self.weights = {"a": 0.6, "b": 0.35, "c": 0.05}
        self.silent: set[str] = set()
        self.operators: list[Any] = []
        self.offset = 0
        self.reversed = False
        self.spoilt = ""
        self.end: Callable[[], None] = group.stop
        self.commands: list[np.ndarray] = []
        self.statuses: list[Any] = []
        self._states = node.create_publisher(JointState, "joint_states", SENSOR)
        self._gate = node.create_publisher(JointState, "gate/weights", SENSOR)
        self._experts = {
            name: (
                node.create_publisher(TwistStamped, f"experts/{name}/twist", SENSOR),
                node.create_publisher(JointState, f"experts/{name}/gripper", SENSOR),
            )
            for name in "abc"
        }
        self.listen()
        node.create_subscription(DiagnosticArray, "diagnostics", self._on_status, EVENTS)
        self._ticks = 0
        node.create_timer(CONTROL_PERIOD, self._send, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def listen(self) -> None:
        """Take commands from now on."""
        self.commands.clear()
        self.listening = self.client.node.create_subscription(
            Float64MultiArray, ARM.topics["joint_velocity"], self._on_command, COMMAND
        )

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append(np.array(message.data))

    def _on_status(self, message: DiagnosticArray) -> None:
        self.statuses.append(message.status[0])

    def _send(self) -> None:
        stamp = self.client.node.get_clock().now().nanoseconds + self.offset
        if "arm" not in self.silent:
            values = dict(zip(self.names, [*self.q, self.width], strict=True))
            if self.reversed:
                values = dict(reversed(values.items()))
            self._states.publish(to_named_values(stamp, values))
        self._ticks += 1
        if self._ticks % 5:
            return
        for operator in self.operators:
            operator.publish(to_twist(stamp, ARM.base_frame, np.array([0.0, 0.0, 0.1])))
        if "gate" not in self.silent:
            weights = to_named_values(stamp, self.weights)
            if self.spoilt == "gate":
                weights.name = weights.name[:2]
            self._gate.publish(weights)
        for k, (name, (twists, grippers)) in enumerate(self._experts.items()):
            if name not in self.silent:
                velocity = np.array([0.0, 0.1 + 0.02 * k, 0.0])
                twists.publish(to_twist(stamp, ARM.base_frame, velocity))
                width = {} if self.spoilt == "gripper" else {"gripper": 0.08}
                grippers.publish(to_named_values(stamp, width))

    def operator(self) -> Any:
        """A publisher of an operator's twists, silent until it is in `operators`."""
        return self.client.node.create_publisher(TwistStamped, "teleop/twist", COMMAND)

    def status(self, accept: Callable[[Any], bool], what: str) -> Any:
        """The next status that is accepted."""
        first = len(self.statuses)
        return self.client.until(
            lambda: next((s for s in self.statuses[first:] if accept(s)), None), what
        )

    def message(self, words: str) -> Any:
        """The next status whose message holds `words`."""
        return self.status(lambda status: words in status.message, f"diagnostics with {words!r}")

    def moving(self, words: str = "moving") -> Any:
        """The next status of an arm that moves, once it does."""
        status = self.status(lambda s: s.message.startswith(words), words)
        self.client.until(lambda: np.abs(self.commands[-1]).max() > 0.01, "motion")
        return status

    def at_rest(self) -> None:
        """Wait for zero velocities."""
        self.client.until(lambda: self.commands and not self.commands[-1].any(), "rest")


def values_of(status: Any) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


@contextmanager
def commander(domain: int, environment: dict[str, str], **parameters: object) -> Iterator[Sender]:
    """A node with these parameters, and who sends to it."""
    given = PATIENT | {"mode": "policy"} | parameters
    command = [sys.executable, "-m", "moe_robot_control.nodes.velocity_commander", "--ros-args"]
    for name, value in given.items():
        command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    output = io.StringIO()
    with ExitStack() as stack:
        group = ProcessGroup({"commander": command}, environment, output, catch_signals=False)
        stack.enter_context(group)
        yield Sender(stack.enter_context(client_of(domain, output)), group)


@pytest.fixture
def sender(domain: int, environment: dict[str, str]) -> Iterator[Sender]:
    """Who sends to a patient commander of the panda."""
    with commander(domain, environment) as sender:
        yield sender


def test_emergency_stop_by_topic_latches(sender: Sender) -> None:
    sender.moving()
    button = sender.client.node.create_publisher(Bool, "emergency_stop", COMMAND)
    sender.client.until(lambda: button.get_subscription_count() > 0, "subscription")
    button.publish(Bool(data=True))
    assert sender.message("emergency stop").level == b"\x02"
    sender.at_rest()
    button.publish(Bool(data=False))
    sender.operators = [sender.operator()]
    sender.message("emergency stop")
    assert not sender.commands[-1].any()
    assert sender.client.call(Trigger, "velocity_commander/release").success
    sender.moving("moving by the operator")
    log = [line for line in sender.client.output.getvalue().splitlines() if "ERROR" in line]
    assert len(log) == 1 and "standing still: emergency stop" in log[0]


@contextmanager
def stranger(domain: int) -> Iterator[list[Float64MultiArray]]:
    """The commands that another process than the driver's hears, once it hears any."""
    with client_of(domain, io.StringIO()) as client:
        heard: list[Float64MultiArray] = []
        client.node.create_subscription(
            Float64MultiArray, ARM.topics["joint_velocity"], heard.append, COMMAND
        )
        client.until(lambda: heard, "a command")
        yield heard


@pytest.mark.parametrize("recorded", [False, True])
def test_rests_until_the_driver_listens_and_then_begins_slowly(
    sender: Sender, domain: int, recorded: bool
) -> None:
    sender.moving()
    sender.client.node.destroy_subscription(sender.listening)
    sender.message("nobody listens to /joint_velocity_controller/commands")
    with ExitStack() as stack:
        if recorded:
            heard = stack.enter_context(stranger(domain))
            sender.message("nobody listens to /joint_velocity_controller/commands")
            assert not np.any([message.data for message in heard])
        sender.listen()
        sender.client.until(lambda: sender.commands, "a command")
        fastest = np.abs(sender.commands[0]) / (ARM.joint_acceleration * CONTROL_PERIOD)
        # two commands may have been under way when the first was heard
        assert fastest.max() <= 2.0 + 1e-6
        sender.moving()


def test_patience_with_a_driver_that_is_not_known_ends(
    domain: int, environment: dict[str, str]
) -> None:
    """As where joint states are merged by another process than the driver's."""
    with commander(domain, environment, driver_patience=0.5) as sender:
        sender.client.node.destroy_subscription(sender.listening)
        sender.message("nobody listens to /joint_velocity_controller/commands")
        with stranger(domain):
            assert sender.status(lambda s: s.message == "moving", "motion").level == b"\x00"


def test_the_operator_overrides_and_two_stop(sender: Sender) -> None:
    sender.moving()
    first, second = sender.operator(), sender.operator()
    sender.operators = [first]
    status = sender.moving("moving by the operator")
    told = values_of(status)
    assert (told["source"], told["mode"]) == ("operator", "policy")
    assert float(values_of(sender.message("operator"))["age operator"]) < 2.0
    sender.operators = [first, second]
    sender.message("2 operators at once")
    sender.at_rest()
    sender.operators = []
    status = sender.status(lambda s: s.message == "moving", "the policy again")
    assert values_of(status)["source"] == "policy"
    sender.operators = [first]
    assert sender.client.call(Trigger, "velocity_commander/set_mode/idle").success
    sender.message("standing still: idle")
    sender.at_rest()


def test_small_weights_are_renormalised_away_and_large_ones_are_not(sender: Sender) -> None:
    assert sender.moving().level == b"\x00"
    sender.silent = {"c"}
    status = sender.moving("moving without c")
    assert status.level == b"\x01" and values_of(status)["without"] == "c"
    sender.silent = {"b"}
    sender.message("no action of expert 'b'")
    sender.at_rest()
    sender.silent = set()
    sender.status(lambda s: s.message == "moving", "all experts again")


def test_joint_states_that_cannot_be_trusted(sender: Sender) -> None:
    sender.moving()
    home, names = sender.q.copy(), list(sender.names)

    def jump() -> None:
        sender.q[0] += 0.5

    def leave() -> None:
        sender.q[3] = 0.5

    def spoil() -> None:
        sender.q[2] = np.nan

    def spoil_gripper() -> None:
        sender.width = np.inf

    def lose() -> None:
        sender.names[4] = "elbow"

    def hurry() -> None:
        sender.offset = 5_000_000_000

    def fall_silent() -> None:
        sender.silent = {"arm"}

    faults = {
        jump: "'panda_joint1' jumped",
        leave: "'panda_joint4' is 0.57 rad out of its limits",
        spoil: "'panda_joint3' is not finite",
        spoil_gripper: "'panda_gripper' is not finite",
        lose: "joint 'panda_joint5' is missing",
        hurry: "joint states stamped in the future",
        fall_silent: "joint states are stale",
    }
    for fault, words in faults.items():
        fault()
        assert sender.message(words).level == b"\x01"
        sender.at_rest()
        sender.q, sender.width, sender.names = home.copy(), 0.08, list(names)
        sender.silent, sender.offset = set(), 0
        sender.status(lambda s: s.message == "moving", f"recovery from {words!r}")


def test_joints_in_another_order_are_no_fault(sender: Sender) -> None:
    sender.moving()
    sender.reversed = True
    first = len(sender.statuses)
    sender.client.until(lambda: len(sender.statuses) > first + 1, "diagnostics")
    assert all(status.message == "moving" for status in sender.statuses[first:])


def arm_with_output(tmp_path: Path, output: str) -> Path:
    text = share_path("config/arms/panda.yaml").read_text()
    kinematics = share_path("models/world/arm.xml")
    text = text.replace("models/world/arm.xml", str(kinematics))
    path = tmp_path / "arm.yaml"
    path.write_text(text.replace("output: joint_velocity", f"output: {output}"))
    return path


@pytest.mark.parametrize("output", ["servo_twist", "joint_trajectory"])
def test_other_outputs(
    domain: int, environment: dict[str, str], tmp_path: Path, output: str
) -> None:
    arm = arm_with_output(tmp_path, output)
    with commander(domain, environment, arm=arm) as sender:
        topic = ARM.topics[output]
        kind = TwistStamped if output == "servo_twist" else JointTrajectory

        def steady(message: Any) -> bool:
            if output == "servo_twist":
                return message.twist.linear.y > 0.1
            return bool(np.abs(message.points[0].velocities).max() > 0.1)

        message = sender.client.message(kind, topic, COMMAND, steady)
        kinematics = Kinematics(ARM.kinematics, ARM.joint_names, ARM.tip_site)
        if output == "servo_twist":
            assert message.header.frame_id == ARM.base_frame
            assert abs(message.twist.linear.x) < 0.01 and message.twist.linear.y < 0.12
            assert abs(message.twist.angular.z) < 0.05
        else:
            (point,) = message.points
            assert message.joint_names == list(ARM.joint_names)
            velocities = np.array(point.velocities)
            assert point.time_from_start.nanosec == round(HORIZON * 1e9)
            np.testing.assert_allclose(point.positions, ARM.home + HORIZON * velocities)
            assert tip_twist(kinematics, ARM.home, velocities)[1] > 0.02
        assert not sender.commands
        sender.silent = {"gate"}
        sender.message("gate weights are stale")

        def rests(message: Any) -> bool:
            if output == "joint_trajectory":
                return not np.any(message.points[0].velocities)
            linear, angular = message.twist.linear, message.twist.angular
            return not any((linear.x, linear.y, linear.z, angular.x, angular.y, angular.z))

        sender.client.message(kind, topic, COMMAND, rests)


def test_a_dry_run_sends_the_arm_nothing_and_tells_everything(
    domain: int, environment: dict[str, str]
) -> None:
    with commander(domain, environment, dry_run=True) as sender:
        told = sender.client.message(
            Float64MultiArray,
            "command/joint_velocity",
            accept=lambda m: bool(np.abs(m.data).max() > 0.05),
        )
        assert len(told.data) == 7
        sender.client.message(TwistStamped, "command/twist")
        assert list(sender.client.message(Float64MultiArray, "command/gripper").data) == [0.08]
        status = sender.status(lambda s: s.message == "moving", "diagnostics")
        assert values_of(status)["dry_run"] == "true"
        assert not sender.commands
        for role in ("joint_velocity", "gripper"):
            assert sender.client.node.count_publishers(ARM.topics[role]) == 0


def test_lockstep_needs_joint_velocities_sent(run_node: Run) -> None:
    result = run_node(
        "velocity_commander", "--ros-args", "-p", "lockstep:=true", "-p", "dry_run:=true"
    )
    check(result, "velocity_commander", "lockstep", "dry_run")


def test_comes_to_rest_before_it_ends(domain: int, environment: dict[str, str]) -> None:
    with commander(domain, environment) as sender:
        sender.moving()
        sender.end()
        sender.at_rest()
        assert "standing still: the node ends" in sender.client.output.getvalue()


def test_speed_is_scaled(domain: int, environment: dict[str, str]) -> None:
    with commander(domain, environment, speed_scale=0.25) as sender:
        sender.moving()
        first = len(sender.commands)
        sender.client.until(lambda: len(sender.commands) > first + 30, "commands")
        kinematics = Kinematics(ARM.kinematics, ARM.joint_names, ARM.tip_site)
        speed = tip_twist(kinematics, ARM.home, sender.commands[-1])[1]
        wanted = 0.6 * 0.10 + 0.35 * 0.12 + 0.05 * 0.14
        assert speed == pytest.approx(0.25 * wanted, rel=0.05)


def test_messages_of_gate_and_experts_that_cannot_be_used(sender: Sender) -> None:
    sender.moving()
    for fault, words in (
        ("gate", "gate weights: 2 names but 3 positions"),
        ("gripper", "action of expert 'a' is not finite"),
    ):
        sender.spoilt = fault
        sender.message(words)
        sender.at_rest()
        sender.spoilt = ""
        sender.status(lambda s: s.message == "moving", f"recovery from {words!r}")
