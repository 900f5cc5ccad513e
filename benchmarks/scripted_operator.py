"""An operator for the graph of kind `record`, where nobody is there: a script with a gamepad.

It sees what the graph's nodes see (object poses, joint states), decides as the scripted teachers
do, and moves sticks and buttons of a synthetic `sensor_msgs/Joy` as the mapping `gamepad` has them.
All the rest is the graph's: teleop, commander, bench and recorder. The bench is unsteady
(`world/unsteady.py`), as it is for demonstrations in process: it pushes, the operator corrects.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes._scene import SceneNode
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.qos import COMMAND, LATCHED
from moe_robot_control.nodes.ros_messages import MessageError, from_named_values
from moe_robot_control.nodes.service_calls import call_repeatedly, parameters_request
from moe_robot_control.nodes.up import graph_commands, graph_environment
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    OBJECTS,
    Scene,
)
from moe_robot_control.teleoperation.controls import SPEEDS
from moe_robot_control.teleoperation.mapping import GamepadMapping, Switch
from moe_robot_control.world.teachers import teach

PATIENCE = 60.0
"""Longest wait for the graph to do anything [s]."""
TIME_LIMIT = 30.0
"""Longest episode [s, simulated]."""
_UNHEARD = 0.4
"""So long the operator waits for what he wants before he presses the deadman anew [s]."""
_TAP = 0.1
"""A button is held, and then not, for so long [s]."""


class OperatorError(MoeRobotControlError):
    """The graph died or does not answer."""


class ScriptedOperator(SceneNode):
    """Drives one episode after the other through the topic `joy`.

    Attributes:
        bench: the bench's last status.
        recorder: the recorder's last status.
    """

    def __init__(self, by_weights: bool, **options: object) -> None:
        super().__init__("scripted_operator", **options)
        self._mapping = GamepadMapping.load("gamepad")
        self._by_weights = by_weights
        self.bench: dict[str, Any] = {}
        self.recorder: dict[str, Any] = {}
        self._opening: float | None = None
        self._chosen: str | None = None
        self._velocity = np.zeros(3)
        self._tapped: tuple[str, float] | None = None
        self._taps = ["faster"] * len(SPEEDS)
        self._heard = self._pressed = time.monotonic()
        self._skill = ""
        self._stamp = -1

    def set_up(self) -> None:
        self._out = self.create_publisher(Joy, "joy", COMMAND)
        self.subscribe_scene(OBJECTS)
        subscribe = self.create_subscription
        subscribe(String, "mujoco_bridge/status", self._on_bench, LATCHED)
        subscribe(String, "demo_recorder/status", self._on_recorder, LATCHED)
        subscribe(JointState, "teleop/gripper", self._on_gripper, COMMAND)
        subscribe(JointState, "teleop/weights", self._on_weights, COMMAND)
        self.create_timer(0.05, self._publish)

    # -- what it sees ------------------------------------------------------------------------

    def _on_bench(self, message: String) -> None:
        self.bench = json.loads(message.data)

    def _on_recorder(self, message: String) -> None:
        self.recorder = json.loads(message.data)

    def _on_gripper(self, message: JointState) -> None:
        self._opening = message.position[0]
        self._heard = time.monotonic()

    def _on_weights(self, message: JointState) -> None:
        try:
            weights = from_named_values(message)
        except MessageError:
            return
        self._heard = time.monotonic()
        self._chosen = max(weights, key=weights.get)

    def on_scene(self, stamp: int, scene: Scene) -> None:
        skill = self.bench.get("stage") or self.bench.get("skill") or self._skill
        if not skill or stamp == self._stamp:
            return
        self._skill, self._stamp = skill, stamp
        batch = Scene(*(np.asarray(part)[None] for part in vars(scene).values()))
        action = teach(skill, batch)[0]
        self._velocity = action[:3]
        wants_open = action[3] > MAX_GRIPPER_WIDTH / 2
        if self._opening is not None and not self._taps and wants_open != (self._opening > 0):
            self._taps.append("toggle_gripper")
        self._publish()

    # -- what it does ------------------------------------------------------------------------

    def _publish(self) -> None:
        """The gamepad's state now."""
        if not self._out.get_subscription_count():
            return  # teleop is not there yet: nothing is to be pressed in vain
        axes, buttons = [0.0] * 8, [0] * 11
        # on until the recorder has enough, as whoever lets go shows nothing any more
        if "recording" == self.recorder.get("state") or "running" == self.bench.get("state"):
            self._hold_deadman(axes, buttons)
            if not self._by_weights:
                self._move_sticks(axes)
            elif self._chosen != self._skill and not self._taps:
                self._taps.append("next_expert")
        self._tap(axes, buttons)
        self._out.publish(Joy(axes=axes, buttons=buttons))

    def _hold_deadman(self, axes: list[float], buttons: list[int]) -> None:
        """Hold it; where nothing comes of it, press it anew, as after a silence of the gamepad."""
        now = time.monotonic()
        if now - max(self._heard, self._pressed) > _UNHEARD:
            self._pressed = now
        if now - self._pressed > _TAP:
            _press(self._mapping.deadman, axes, buttons)

    def _move_sticks(self, axes: list[float]) -> None:
        deadzone = self._mapping.deadzone
        for name, speed in zip("xyz", self._velocity, strict=True):
            axis = self._mapping.motion[name]
            share = abs(speed) / MAX_SPEED
            value = np.sign(speed) * (deadzone + (1 - deadzone) * share) if share else 0.0
            axes[axis.index] = float(value / axis.scale)

    def _tap(self, axes: list[float], buttons: list[int]) -> None:
        """Press the next button that is to be tapped, and let go of it after a while."""
        now = time.monotonic()
        if self._tapped is not None:
            action, since = self._tapped
            if now - since < _TAP:
                _press(self._mapping.actions[action], axes, buttons)
            elif now - since > 2 * _TAP:
                self._tapped = None
                self._taps.remove(action)
        elif self._taps:
            self._tapped = self._taps[0], now
            _press(self._mapping.actions[self._taps[0]], axes, buttons)


def _press(switch: Switch, axes: list[float], buttons: list[int]) -> None:
    if switch.threshold is None:
        buttons[switch.index] = 1
    else:
        axes[switch.index] = float(np.sign(switch.threshold))


class OperatedGraph:
    """The graph with the operator at it."""

    def __init__(self, group: ProcessGroup, tail: Tail, node: ScriptedOperator, spinner: Any):
        self._group, self._tail, self._node, self._executor = group, tail, node, spinner
        self._setter = node.create_client(SetParameters, "mujoco_bridge/set_parameters")
        self._reset = node.create_client(Trigger, "mujoco_bridge/reset")
        self._discard = node.create_client(Trigger, "demo_recorder/discard")
        self._until(lambda: node.bench and node.recorder, "the graph did not start")

    def run(self, seed: int) -> tuple[bool, dict[str, Any]]:
        """One episode; a failed one is discarded.

        Returns:
            Whether it succeeded, and the recorder's status at its end.
        """
        node = self._node
        self._call(self._setter, parameters_request({"seed": seed}))
        answer = self._call(self._reset, Trigger.Request(), again=np.inf)
        episode = int(answer.message.split()[-1])
        self._until(
            lambda: node.bench["episode"] == episode and node.recorder["state"] == "recording",
            "the recorder did not begin",
        )
        self._until(
            lambda: node.bench["state"] != "running" and node.recorder["state"] == "idle",
            "the episode did not end",
            patience=10.0 * TIME_LIMIT,
        )
        success, recorded = node.bench["state"] == "succeeded", dict(node.recorder)
        if not success:
            self._call(self._discard, Trigger.Request(), again=np.inf)
        return success, recorded

    def _call(self, client: Any, request: Any, again: float = 2.0) -> Any:
        deadline = time.monotonic() + PATIENCE
        return call_repeatedly(client, request, lambda what: self._spin(deadline, what), again)

    def _until(self, condition: Any, complaint: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            self._spin(deadline, complaint)

    def _spin(self, deadline: float, complaint: str) -> None:
        self._executor.spin_some(0.02)
        ended = self._group.ended()
        if ended is not None or time.monotonic() > deadline:
            raise OperatorError(f"{ended or complaint}: {self._tail.last}")


@contextmanager
def operated_graph(options: GraphOptions, real_time_factor: float = 1.0) -> Iterator[OperatedGraph]:
    """A graph of kind `record` in a domain of its own, with the operator at it."""
    tail = Tail()
    with ExitStack() as stack:
        domain = stack.enter_context(reserved_domain())
        environment = graph_environment(recorded=True) | {"ROS_DOMAIN_ID": str(domain)}
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yaml"))
        bench = {
            "real_time_factor": real_time_factor,
            "time_limit": TIME_LIMIT,
            "unsteady": not options.by_weights,
        }
        yaml.safe_dump({"mujoco_bridge": {"ros__parameters": bench}}, file)
        file.flush()
        files = (*options.parameter_files, file.name)
        commands = graph_commands(replace(options, parameter_files=files), composed=True)
        group = ProcessGroup(commands, environment, tail, catch_signals=False)
        stack.enter_context(group)
        context = stack.enter_context(context_of(domain))
        node = ScriptedOperator(options.by_weights, context=context, cli_args=[])
        stack.callback(node.destroy_node)
        node.start()
        executor = LeanExecutor(context=context)
        executor.add_node(node)
        yield OperatedGraph(group, tail, node, executor)


def record_episodes(
    directory: Path,
    count: int,
    seed: int,
    real_time_factor: float = 1.0,
    on_episode: Any = None,
    **what: Any,
) -> tuple[int, int]:
    """Record episodes that succeed.

    Args:
        directory: of the recordings.
        count: of successful episodes.
        seed: of the first; failures take the next.
        real_time_factor: simulated per real time.
        on_episode: called with seed and success after each.
        what: `skill`, or `scenario` and `by_weights=True`.

    Returns:
        How many failed, and how many messages are missing.
    """
    options = GraphOptions(
        kind="record",
        true_poses=True,
        operator="script",
        recordings=str(directory.resolve()),
        **what,
    )
    succeeded = failed = missing = 0
    with operated_graph(options, real_time_factor) as graph:
        while succeeded < count:
            success, recorded = graph.run(seed)
            succeeded, failed = succeeded + success, failed + (not success)
            missing += recorded["dropped"] + recorded["lost"]
            if on_episode is not None:
                on_episode(seed, success)
            seed += 1
    return failed, missing
