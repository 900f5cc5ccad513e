"""The real graph on a rehearsal arm, one process a node, and an eye on all that it does."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger

from moe_robot_control.control.arbitration import MODES
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.graph import GraphOptions, NodeSpec, build_graph
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.ros_messages import from_stamp
from moe_robot_control.nodes.service_calls import call_repeatedly, parameters_request
from moe_robot_control.nodes.up import graph_environment
from safety.policies import LIGHT
from safety.processes import Processes
from safety.records import Command, Diagnosis, Heard, first_run
from safety.relay import CLEAN, ROUTES

PATIENCE = 30.0
"""Longest wait for anything [s]."""
ARM, COMMANDER, GATE = "rehearsal_arm", "velocity_commander", "manipulation_network"
_KEPT = 50
FOLDER = Path(__file__).resolve().parent.parent
_DEEP = QoSProfile(depth=2000, reliability=ReliabilityPolicy.BEST_EFFORT)
_DEEP_RELIABLE = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)


class RigError(Exception):
    """Something that was waited for did not come."""


class Rig:
    """One arm with its graph, driven and watched by a node of this process.

    All times are those at which messages were sent, as DDS tells them, so that neither this
    process nor its waits count.

    Attributes:
        processes: of all nodes, by their names.
        commands: all commands to the arm since `forget`.
        heard: the messages on each topic of `ROUTES`, `light` (twists of the expert of least
            weight) and `operator` (twists of operators).
        diagnoses: since then.
        managed: names of the lifecycle nodes.
        limits, status: what the arm said last of itself, and of its episode.
        other: a second arm's rig, if there is one.
        stop_button: publisher of `emergency_stop`.
    """

    def __init__(
        self,
        domain: int,
        policies: Path,
        cameras: bool = False,
        namespace: str = "",
        relayed: bool = True,
        operators: int = 2,
        arm: Mapping[str, object] | None = None,
        commander: Mapping[str, Any] | None = None,
        experts: Sequence[str] | None = None,
        gate: bool = True,
        more: Mapping[str, tuple[list[str], dict[str, Any]]] | None = None,
    ) -> None:
        """Describe the graph.

        Args:
            domain: ROS domain.
            policies: folder of the experts and the gate.
            cameras: with images and perception; else the arm says where objects are.
            namespace: of all nodes.
            relayed: with a relay before the topics of `ROUTES`.
            operators: how many.
            arm: parameters of the rehearsal arm.
            commander: parameters of the velocity commander.
            experts: which run; all by default.
            gate: whether there is one.
            more: nodes by name: how Python is called, and the node's parameters.
        """
        self.domain = domain
        self.other: Rig | None = None
        self.output = io.StringIO()
        self._stack = ExitStack()
        self._namespace = namespace
        self._clients: dict[str, Client] = {}
        self._remappings = tuple((t, t + CLEAN) for _, t in ROUTES.values()) if relayed else ()
        options = GraphOptions(
            kind="deploy", model_directory=str(policies), namespace=namespace, mode="policy"
        )
        nodes = [
            replace(
                spec,
                remappings=self._remapped(spec.executable),
                parameters=spec.parameters
                | (dict(commander or {}) if spec.executable == COMMANDER else {}),
            )
            for spec in build_graph(options)
            if (cameras or spec.executable != "perception")
            and (gate or spec.executable != GATE)
            and (experts is None or spec.executable != "expert_policy" or spec.name in experts)
        ]
        own: dict[str, tuple[list[str], NodeSpec]] = {
            ARM: (
                [str(FOLDER / "rehearsal_arm.py")],
                self._spec(ARM, {"cameras": cameras, **(arm or {})}),
            )
        }
        if relayed:
            own["relay"] = (["-m", "safety.relay"], self._spec("relay", {}))
        for i in range(1, operators + 1):
            spec = self._spec(f"operator_{i}", {"turn_rate": 2.0 + 0.5 * i})
            own[spec.name] = (["-m", "safety.operator_node"], spec)
        for name, (program, parameters) in (more or {}).items():
            own[name] = (program, self._spec(name, parameters))
        commands = {
            name: [sys.executable, *program, *spec.ros_arguments()]
            for name, (program, spec) in own.items()
        }
        for spec in nodes:
            module = f"moe_robot_control.nodes.{spec.executable}"
            commands[spec.name] = [sys.executable, "-m", module, *spec.ros_arguments()]
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        paths = [str(FOLDER), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment.setdefault("MUJOCO_GL", "egl")
        self.processes = Processes(commands, environment, self.output, catch_signals=False)
        self.managed = [spec.name for spec in nodes]
        self.heard: dict[str, list[Heard]] = {route: [] for route in (*ROUTES, "light", "operator")}
        self.forget()
        self.limits: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        self._limits_heard = 0
        self._altered: dict[str, dict[str, Any]] = {}

    def _remapped(self, executable: str) -> tuple[tuple[str, str], ...]:
        """Publishers write before the relay; who only listens, listens after it."""
        own = {
            ARM: ("joint_states", "visible", "pose", "image", "info"),
            "perception": ("visible", "pose"),
            GATE: ("weights",),
            "expert_policy": ("twist", "gripper"),
        }
        topics = [ROUTES[route][1] for route in own.get(executable, ())]
        return tuple(pair for pair in self._remappings if pair[0] in topics)

    def _spec(self, name: str, parameters: dict[str, Any]) -> NodeSpec:
        return NodeSpec(
            executable=name,
            name=name,
            parameters=parameters,
            namespace=self._namespace,
            remappings=self._remapped(name),
        )

    # -- life --------------------------------------------------------------------------------

    def __enter__(self) -> Rig:
        try:
            self._stack.enter_context(self.processes)
            context = self._stack.enter_context(context_of(self.domain))
            self.node = Node("rig", context=context, namespace=self._namespace, cli_args=[])
            self._stack.callback(self.node.destroy_node)
            self._executor = LeanExecutor(context=context)
            self._executor.add_node(self.node)
            self._subscribe()
            reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
            self.stop_button = self.node.create_publisher(Bool, "emergency_stop", reliable)
            for name in self.managed:
                self.call(GetState, f"{name}/get_state")
            self._listen_to_commands()
            # a service that is found only when it is needed would be late
            for name in ("emergency_stop", "release", *(f"set_mode/{mode}" for mode in MODES)):
                self._find(Trigger, f"{COMMANDER}/{name}")
            self.until(self.stop_button.get_subscription_count, "listener to emergency_stop")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _subscribe(self) -> None:
        subscribe, topics = self.node.create_subscription, ArmConfig.load().topics
        subscribe(JointState, topics["joint_states"] + CLEAN, self._on_measured, _DEEP)
        if not self._remappings:
            subscribe(JointState, topics["joint_states"], self._on_measured, _DEEP)
        for route in ("joint_states", "weights", "twist", "gripper", "visible", "pose"):
            kind, topic = ROUTES[route]
            subscribe(kind, topic, partial(self._on_input, route), _DEEP)
        light = f"experts/{LIGHT}/twist"
        subscribe(TwistStamped, light, partial(self._on_input, "light"), _DEEP)
        subscribe(TwistStamped, "teleop/twist", partial(self._on_input, "operator"), _DEEP)
        subscribe(DiagnosticArray, "diagnostics", self._on_diagnostics, _DEEP_RELIABLE)
        subscribe(String, f"{ARM}/limits", self._on_limits, LATCHED)
        subscribe(String, f"{ARM}/status", self._on_status, LATCHED)
        subscribe(String, "relay/altered", self._on_altered, LATCHED)

    def _listen_to_commands(self) -> None:
        """After the arm does: through the relay, the commander cannot tell which is the arm."""
        self.until(lambda: self.limits.get("commands"), "command at the arm")
        topic = ArmConfig.load().topics["joint_velocity"]
        self.node.create_subscription(Float64MultiArray, topic, self._on_command, _DEEP_RELIABLE)

    # -- watching ----------------------------------------------------------------------------

    def _on_command(self, message: Float64MultiArray, info: dict[str, int]) -> None:
        values = np.array(message.data)
        speed = float(np.abs(values).max()) if np.isfinite(values).all() else float("inf")
        self.commands.append(Command(info["source_timestamp"], speed))

    def _on_measured(self, message: JointState, info: dict[str, int]) -> None:
        speed = float(np.abs(np.array(message.velocity)).max())
        self.measured.append(Command(info["source_timestamp"], speed))

    def _on_input(self, route: str, message: Any, info: dict[str, int]) -> None:
        header = message.header
        heard = Heard(info["source_timestamp"], from_stamp(header.stamp), header.frame_id)
        self.heard[route].append(heard)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if COMMANDER in status.name:
                values = {pair.key: pair.value for pair in status.values}
                level = int.from_bytes(status.level, "little")
                self.diagnoses.append(Diagnosis(time.time_ns(), level, status.message, values))

    def _on_limits(self, message: String) -> None:
        self.limits = json.loads(message.data)
        self._limits_heard += 1

    def _on_status(self, message: String) -> None:
        self.status = json.loads(message.data)

    def _on_altered(self, message: String) -> None:
        self._altered = json.loads(message.data)

    def forget(self) -> None:
        """Begin all records anew, but keep the last messages heard."""
        self.commands: list[Command] = []
        self.measured: list[Command] = []
        # the last before a fault says when it could be known
        self.heard = {route: heard[-_KEPT:] for route, heard in self.heard.items()}
        self.diagnoses: list[Diagnosis] = []

    # -- waiting -----------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Spin until `condition` is true; returns its value.

        Raises:
            RigError: it did not become true.
        """
        deadline = time.monotonic() + patience
        while not (value := condition()):
            self._spin(deadline, f"no {what}")
        return value

    def _spin(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise RigError(complaint)
        if (name := self.processes.died()) is not None:
            raise RigError(f"node {name} ended by itself")
        self._executor.spin_some(0.01)

    def until_moving(self, since: int, count: int = 10, patience: float = PATIENCE) -> int:
        """When the first of `count` moving commands in a row was sent, after `since` [ns]."""
        return self.until(lambda: first_run(self.commands, since, True, count), "motion", patience)

    def until_still(self, since: int, count: int = 10, patience: float = 10.0) -> int:
        """When the first of `count` commands in a row that are zero was sent, after `since`."""
        return self.until(lambda: first_run(self.commands, since, False, count), "rest", patience)

    def until_reason(self, pattern: str, since: int, patience: float = 5.0) -> str:
        """The commander's first message after `since` [ns] that matches."""

        def found() -> str | None:
            texts = (d.message for d in self.diagnoses if d.heard >= since)
            return next((text for text in texts if re.search(pattern, text, re.I)), None)

        return self.until(found, f"diagnosis like {pattern!r}", patience)

    def drain(self) -> None:
        """Look at all messages that have come."""
        self._executor.spin_some(0.0)

    def watch(self, seconds: float) -> None:
        """Watch for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._spin(end + PATIENCE, "")

    def pause(self, commands: int, patience: float = 10.0) -> None:
        """Watch until so many more commands have come."""
        goal = len(self.commands) + commands
        self.until(lambda: len(self.commands) >= goal, "commands", patience)

    def check_motion(self, since: int) -> None:
        """See that all commands after `since` [ns] were motion, within limits.

        Raises:
            RigError: they were not.
        """
        self.pause(20)
        commands = [command for command in self.commands if command.sent >= since]
        if not all(command.moves for command in commands):
            said = dict.fromkeys(d.message for d in self.diagnoses if d.heard >= since)
            raise RigError(f"the other arm came to rest, too: {'; '.join(said)}")
        if broken := self.new_limits()["violations"]:
            raise RigError(f"the other arm: {next(iter(broken))} broken")

    def new_limits(self) -> dict[str, Any]:
        """What the arm says of itself from now on."""
        goal = self._limits_heard + 2
        return self.until(lambda: self._limits_heard >= goal and self.limits, "word of the arm")

    def time_of_alteration(self, route: str, mode: str) -> int:
        """When the relay first altered a message of a route in the present mode [ns]."""
        return self.until(
            lambda: (
                self._altered.get(route, {}).get("mode") == mode and self._altered[route]["first"]
            ),
            f"message on {route} to alter",
        )

    # -- acting ------------------------------------------------------------------------------

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        """Call a service."""
        deadline = time.monotonic() + PATIENCE
        return call_repeatedly(
            self._find(kind, name),
            request or kind.Request(),
            lambda what: self._spin(deadline, what),
        )

    def _find(self, kind: Any, name: str) -> Client:
        if name not in self._clients:
            client = self._clients[name] = self.node.create_client(kind, name)
            self.until(client.service_is_ready, f"service {name}")
        return self._clients[name]

    def trigger(self, name: str) -> Any:
        """Call a service without arguments."""
        return self.call(Trigger, name)

    def get(self, node: str, *names: str) -> list[Any]:
        """Values of parameters; None for those that it has not."""
        request = GetParameters.Request(names=list(names))
        answer = self.call(GetParameters, f"{node}/get_parameters", request)
        return [parameter_value_to_python(value) for value in answer.values]

    def set(self, node: str, **values: Any) -> None:
        """Set parameters.

        Raises:
            RigError: the node refuses.
        """
        answer = self.call(SetParameters, f"{node}/set_parameters", parameters_request(values))
        for result in answer.results:
            if not result.successful:
                raise RigError(f"{node}: {result.reason}")

    def relay(self, route: str, mode: str) -> None:
        """Set what happens to the messages of a route."""
        self.set("relay", **{route: mode})

    def restart(self, name: str) -> None:
        """Start a node that has ended, and wait for it."""
        self.processes.restart(name)
        self.await_node(name)

    def await_node(self, name: str) -> None:
        """Wait until a node answers."""
        service = f"{name}/get_state" if name in self.managed else f"{name}/get_parameters"
        kind = GetState if name in self.managed else GetParameters
        self.call(kind, service)

    def mend(self) -> None:
        """End all faults: all nodes run, the relay only hands on, nobody holds a button."""
        while (name := self.processes.died()) is not None:
            self.processes.killed.add(name)
        for name in self.processes.names():
            self.processes.thaw(name)
            self.processes.restart(name)
        for name in self.processes.names():
            self.await_node(name)
        if "relay" in self.processes.names():
            self.set("relay", **dict.fromkeys(ROUTES, "pass"))
        for name in self.processes.names():
            if name.startswith("operator"):
                self.set(name, holding=False, garbage="")
        self.set(ARM, loss=0.01)
        self.trigger(f"{COMMANDER}/release")
        self.trigger(f"{COMMANDER}/set_mode/policy")
