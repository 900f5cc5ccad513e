"""The operator's node, and `moe-robot-control teleop`: keyboard, gamepad or SpaceMouse."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import complain, run_nodes
from moe_robot_control.nodes.clock import follow_simulated_clock
from moe_robot_control.nodes.qos import COMMAND, EVENTS, LATCHED
from moe_robot_control.nodes.ros_messages import to_named_values, to_twist
from moe_robot_control.policies.spaces import MAX_SPEED
from moe_robot_control.share import share_path
from moe_robot_control.teleoperation.controls import (
    DEMONSTRATED,
    MOTION,
    Controls,
    OperatorCommand,
    TeleoperationError,
)
from moe_robot_control.teleoperation.devices import Joystick, Terminal
from moe_robot_control.teleoperation.gamepad import DEADLINE, Gamepad
from moe_robot_control.teleoperation.keyboard import HOLD, Keyboard
from moe_robot_control.teleoperation.mapping import GamepadMapping, load_keys

DEVICES: dict[str, str] = {"joy": "gamepad", "joystick": "gamepad", "keyboard": "keyboard"}
"""Devices, and the mapping that each has unless told otherwise."""
PERIOD = 0.02
"""Of commands while the operator holds the deadman [s]."""
_SERVICES: dict[str, str] = {
    "start": "demo_recorder/start",
    "stop": "demo_recorder/stop",
    "discard": "demo_recorder/discard",
    "mark_success": "demo_recorder/mark_success",
    "mark_failure": "demo_recorder/mark_failure",
    "reset": "mujoco_bridge/reset",
    "emergency_stop": "velocity_commander/emergency_stop",
    "release": "velocity_commander/release",
    "mode_policy": "velocity_commander/set_mode/policy",
    "mode_teleop": "velocity_commander/set_mode/teleop",
    "mode_idle": "velocity_commander/set_mode/idle",
}
_SERVICE_WAIT = 1.0
"""Longest wait for another node's service [s]."""


class TeleopNode(Node):
    """Publishes what the operator wants, only while he holds the deadman.

    `teleop/twist` and `teleop/gripper`, or `teleop/weights` where he gates experts. When he lets
    go, a last twist of zero stops the arm at once; then nothing comes, and the commander knows
    that he is gone. Devices: `joy` subscribes to `joy`, `joystick` reads the kernel's device,
    `keyboard` the terminal that the node runs in.
    """

    def __init__(self, name: str = "teleop", **options: object) -> None:
        super().__init__(name, **options)
        self._declare()
        parameters = self.parameters
        self._arm = ArmConfig.load(parameters["arm"])
        self._controls = Controls(
            parameters["demonstrate"],
            parameters["max_speed"],
            max_opening=self._arm.max_gripper_width,
        )
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._keyboard: Keyboard | None = None
        self._terminal: Terminal | None = None
        self._joystick: Joystick | None = None
        self._engaged = False
        self._asked: list[tuple[str, float]] = []
        self._recorder: dict[str, Any] = {}
        self._commander = ""
        self._shown = ""
        self._twists = self.create_publisher(TwistStamped, "teleop/twist", COMMAND)
        self._grippers = self.create_publisher(JointState, "teleop/gripper", COMMAND)
        self._weights = self.create_publisher(JointState, "teleop/weights", COMMAND)
        stop = self._arm.topics["emergency_stop"]
        self._emergency_stop = self.create_publisher(Bool, stop, COMMAND)
        self._trigger_clients = {
            request: self.create_client(Trigger, service) for request, service in _SERVICES.items()
        }
        self.create_subscription(String, "demo_recorder/status", self._on_recorder, LATCHED)
        self.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, EVENTS)
        self._open_device()
        self.create_timer(PERIOD, self._tick, clock=self._steady)

    def _declare(self) -> None:
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("device", "joy", "What the operator holds.", choices=tuple(DEVICES), fixed=True)
        declare(
            "mapping",
            "",
            "Name in config/teleop, or path of a YAML file; empty: the device's own.",
            fixed=True,
        )
        declare("joystick", "/dev/input/js0", "The kernel's device, for `joystick`.", fixed=True)
        declare("demonstrate", MOTION, "At first.", choices=DEMONSTRATED, fixed=True)
        declare("max_speed", MAX_SPEED, "Along each axis [m/s].", 0.01, MAX_SPEED, fixed=True)
        declare(
            "deadline",
            DEADLINE,
            "A gamepad that is silent for so long was let go [s].",
            0.02,
            2.0,
            fixed=True,
        )
        declare("key_hold", HOLD, "So long a key counts as held [s].", 0.05, 1.0, fixed=True)

    def _open_device(self) -> None:
        parameters = self.parameters
        device = parameters["device"]
        mapping = parameters["mapping"] or DEVICES[device]
        if device == "keyboard":
            self._keyboard = Keyboard(load_keys(mapping), self._controls, parameters["key_hold"])
            self._terminal = Terminal().__enter__()
            return
        pad = GamepadMapping.load(mapping)
        self._gamepad = Gamepad(pad, self._controls, parameters["deadline"])
        if device == "joystick":
            self._joystick = Joystick(parameters["joystick"])
        else:
            self.create_subscription(Joy, "joy", self._on_joy, COMMAND)

    def close(self) -> None:
        """Stop the arm, and give the terminal back as it was."""
        if self._terminal is not None:
            self._terminal.__exit__(None, None, None)
            print()
        if self._joystick is not None:
            self._joystick.close()
        if self.context.ok():
            self._publish(None)

    # -- the device --------------------------------------------------------------------------

    def _on_joy(self, message: Joy) -> None:
        self._update_gamepad(message.axes, message.buttons)
        self._publish(self._gamepad.command(self._now()))

    def _tick(self) -> None:
        self._pass_on()
        if self._keyboard is not None:
            self._read_keys()
            self._publish(self._keyboard.command(self._now()))
            self._show()
            return
        if self._joystick is not None:
            self._read_joystick()
        self._publish(self._gamepad.command(self._now()))

    def _read_keys(self) -> None:
        for key in self._terminal.read():
            request = self._keyboard.press(self._now(), key)
            if request is not None:
                self._ask(request)
        if self._terminal.ended:
            raise TeleoperationError("keyboard: the terminal was closed")

    def _read_joystick(self) -> None:
        if not self._joystick.read():
            raise TeleoperationError(f"{self.parameters['joystick']}: was unplugged")
        self._update_gamepad(self._joystick.axes, self._joystick.buttons)

    def _update_gamepad(self, axes: Sequence[float], buttons: Sequence[int]) -> None:
        try:
            requests = self._gamepad.update(self._now(), axes, buttons)
        except TeleoperationError as error:
            self.get_logger().error(str(error), throttle_duration_sec=2.0)
            return
        for request in requests:
            self._ask(request)

    def _now(self) -> float:
        return self._steady.now().nanoseconds * 1e-9

    # -- commands ----------------------------------------------------------------------------

    def _publish(self, command: OperatorCommand | None) -> None:
        stamp = self.get_clock().now().nanoseconds
        frame = self._arm.base_frame
        moves = command is not None and command.velocity is not None
        if moves:
            # before the twist, so that nobody moves by a twist without knowing the opening
            gripper = {self._arm.gripper_joint: command.opening}
            self._grippers.publish(to_named_values(stamp, gripper))
            self._twists.publish(to_twist(stamp, frame, command.velocity))
        elif self._engaged:
            self._twists.publish(to_twist(stamp, frame, (0.0, 0.0, 0.0)))
        if command is not None and command.weights is not None:
            self._weights.publish(to_named_values(stamp, command.weights))
        self._engaged = moves

    # -- what is asked of others -------------------------------------------------------------

    def _ask(self, request: str) -> None:
        if request == "toggle_recording":
            request = "stop" if self._recorder.get("state") == "recording" else "start"
        if request == "emergency_stop":
            # not only the service: this needs no answer
            self._emergency_stop.publish(Bool(data=True))
        self._asked.append((request, self._now() + _SERVICE_WAIT))
        self._pass_on()

    def _pass_on(self) -> None:
        """Call the services asked for; one that is not discovered yet is waited for a moment."""
        waiting = []
        for request, until in self._asked:
            client = self._trigger_clients[request]
            if client.service_is_ready():
                answer = client.call_async(Trigger.Request())
                answer.add_done_callback(partial(self._on_answer, request))
            elif self._now() < until:
                waiting.append((request, until))
            else:
                self._tell(f"{_SERVICES[request]} is not there")
        self._asked = waiting

    def _on_answer(self, request: str, future: Future) -> None:
        answer = future.result()
        self._tell(answer.message or f"{request}: {'done' if answer.success else 'refused'}")

    def _on_recorder(self, message: String) -> None:
        self._recorder = json.loads(message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("velocity_commander"):
                self._commander = status.message

    # -- the operator's terminal -------------------------------------------------------------

    def _tell(self, text: str) -> None:
        if self._terminal is None:
            self.get_logger().info(text)
        else:
            print(f"\r\x1b[K{text}", flush=True)
            self._shown = ""

    def _show(self) -> None:
        """One line that says what is set, what is recorded and what the arm does."""
        recorder = self._recorder
        recording = ""
        if recorder.get("state") == "recording":
            recording = f" | recording {recorder['episode']}"
        line = f"{self._controls.describe()}{recording} | {self._commander or 'no commander'}"
        if line != self._shown:
            width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 80
            print(f"\r\x1b[K{line[: width - 1]}", end="", flush=True)
            self._shown = line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `moe-robot-control teleop`."""
    parser.add_argument("--device", choices=tuple(DEVICES), default="keyboard")
    parser.add_argument("--mapping", default="", help="name in config/teleop, or a YAML file")
    parser.add_argument("--joystick", default="/dev/input/js0", help="of device joystick")
    parser.add_argument("--weights", action="store_true", help="gate experts, to begin with")
    parser.add_argument("--arm", default="panda", help="name in config/arms, or a YAML file")
    parser.add_argument("--namespace", default="", help="of the graph")
    parser.add_argument(
        "--network", action="store_true", help="the graph runs on another machine, too"
    )


def run(arguments: argparse.Namespace) -> int:
    """Operate a graph that runs until Ctrl-C."""
    if not arguments.network:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    given = {
        "device": arguments.device,
        "mapping": arguments.mapping,
        "joystick": arguments.joystick,
        "arm": arguments.arm,
        "demonstrate": "weights" if arguments.weights else MOTION,
    }
    argv = ["teleop", "--ros-args", "--params-file", str(share_path("config/teleop.yaml"))]
    for name, value in given.items():
        quoted = value.replace("'", "''")
        argv += ["-p", f"{name}:='{quoted}'"]
    if arguments.namespace:
        argv += ["-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    if arguments.device == "keyboard":
        try:
            print(_help(arguments.mapping or DEVICES["keyboard"]))
        except TeleoperationError as error:
            return complain("teleop", error)
    return run_nodes([_build], "teleop", argv)


def _help(mapping: str) -> str:
    """What the keys do, in columns."""
    meanings: dict[str, list[str]] = {}
    for key, action in load_keys(mapping).items():
        meanings.setdefault(action, []).append(key)
    items = [f"{' '.join(keys)}: {action}" for action, keys in meanings.items()]
    rows = [items[i : i + 3] for i in range(0, len(items), 3)]
    return "\n".join("  ".join(f"{item:<28}" for item in row).rstrip() for row in rows)


def _build() -> TeleopNode:
    """The node, on the simulation's clock where there is one."""
    node = TeleopNode()
    follow_simulated_clock(node)
    return node


def main() -> int:
    """Console entry."""
    return run_nodes([TeleopNode], "teleop")


if __name__ == "__main__":
    sys.exit(main())
