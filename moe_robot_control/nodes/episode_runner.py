"""Runs episodes over the real graph, in a process and ROS domain of its own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.ros_messages import (
    from_image,
    from_named_values,
    from_pose,
    from_stamp,
)
from moe_robot_control.nodes.service_calls import ASK_AGAIN, call_repeatedly, parameters_request
from moe_robot_control.nodes.up import graph_commands, graph_environment
from moe_robot_control.policies.spaces import OBJECTS, check_skill

_LISTEN = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
_WATCH = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class EpisodeError(MoeRobotControlError):
    """The graph died or does not answer."""


@dataclass
class TickRecord:
    """What was seen and decided at one observation.

    Attributes:
        time: since the episode's beginning [s].
        image: the recorded camera's RGB image, uint8 (height, width, 3), if recorded.
        weights: the gate's weight of each expert.
        objects: positions of the objects seen, base frame [m]. Shape (3,) each.
        joints: joint and gripper positions by name [rad], [m].
    """

    time: float
    image: np.ndarray | None = None
    weights: dict[str, float] = field(default_factory=dict)
    objects: dict[str, np.ndarray] = field(default_factory=dict)
    joints: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeResult(Outcome):
    """How one episode over the graph went.

    Attributes:
        wall_time: [s].
        ticks: the recording, one entry an observation; empty unless asked for.
    """

    wall_time: float
    ticks: tuple[TickRecord, ...] = ()


class EpisodeRunner:
    """Starts the graph and runs one episode after the other in it.

    ```python
    with EpisodeRunner() as runner:
        result = runner.run(scenario=3, seed=7)
    ```
    """

    def __init__(
        self,
        options: GraphOptions | None = None,
        composed: bool = True,
        start_timeout: float = 60.0,
        stall_timeout: float = 30.0,
    ) -> None:
        """Describe the graph.

        Args:
            options: of the graph; `autostart` is ignored, episodes begin by `run`.
            composed: all nodes in one process.
            start_timeout: longest wait for the graph to come up [s].
            stall_timeout: longest wait without simulated time passing [s].
        """
        self._options = replace(options or GraphOptions(), autostart=False)
        self._composed = composed
        self._start_timeout = start_timeout
        self._stall_timeout = stall_timeout
        self._stack = ExitStack()
        self._tail = Tail()
        self._status: dict[str, Any] = {}
        self._stamp = 0
        self._ticks: dict[int, TickRecord] | None = None
        self._joints: dict[int, dict[str, float]] = {}

    def __enter__(self) -> EpisodeRunner:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the graph."""
        self._stack.close()

    @property
    def output(self) -> list[str]:
        """The last lines that the graph has written."""
        return list(self._tail.lines)

    def run(
        self,
        scenario: int | None = None,
        skill: str | None = None,
        seed: int = 0,
        record: str | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> EpisodeResult:
        """Run an episode to its end.

        Args:
            scenario: 1 to 7, done by the gate and all experts, or
            skill: done by its expert alone.
            seed: of the episode.
            record: camera whose images to record along with everything else.
            on_progress: called with the bridge's status whenever it changes.

        Raises:
            EpisodeError: a bad scenario, or the graph died or stalled.
            UnknownSkillError: unknown skill.
        """
        if (scenario is None) == (skill is None):
            raise EpisodeError("give either a scenario or a skill")
        started = time.perf_counter()
        bridge: dict[str, Any] = {"skill": "" if skill is None else check_skill(skill)}
        bridge |= {"seed": seed} | ({} if scenario is None else {"scenario": scenario})
        self._set("mujoco_bridge", bridge)
        self._set("manipulation_network", {"fixed_expert": skill or ""})
        subscriptions = self._listen(record) if record else []
        self._ticks = {} if record else None
        # once: asked again, it would begin another episode
        answer = self._call(self._reset, Trigger.Request(), again=math.inf)
        episode = int(answer.message.split()[-1])
        status = self._await_end(episode, on_progress)
        self._executor.spin_some(0.0)  # what came along with the end
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)
        return EpisodeResult(
            scenario=scenario,
            skill=skill,
            seed=seed,
            state=status["state"],
            success=status["state"] == "succeeded",
            time=status["time"],
            stages_done=status["stages_done"],
            stages_total=status["stages_total"],
            wall_time=time.perf_counter() - started,
            ticks=self._recorded(),
        )

    # -- the graph's process -----------------------------------------------------------------

    def _start(self) -> None:
        domain = self._stack.enter_context(reserved_domain())
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        commands = graph_commands(self._options, self._composed)
        self._group = self._stack.enter_context(
            ProcessGroup(commands, environment, self._tail, catch_signals=False)
        )
        context = self._stack.enter_context(context_of(domain))
        self._node = Node(
            "episode_runner", context=context, namespace=self._options.namespace, cli_args=[]
        )
        self._stack.callback(self._node.destroy_node)
        self._executor = LeanExecutor(context=context)
        self._executor.add_node(self._node)
        self._node.create_subscription(String, "mujoco_bridge/status", self._on_status, LATCHED)
        self._node.create_subscription(JointState, "joint_states", self._on_joints, _LISTEN)
        self._reset = self._node.create_client(Trigger, "mujoco_bridge/reset")
        self._setters: dict[str, Client] = {}
        deadline = time.monotonic() + self._start_timeout
        while not self._status:
            self._spin(deadline, "the graph did not start")
        commander = "velocity_commander/emergency_stop"
        client = self._node.create_client(Trigger, commander)
        while not client.service_is_ready():
            self._spin(deadline, "the graph did not start")
        self._node.destroy_client(client)

    def _spin(self, deadline: float, complaint: str) -> None:
        self._executor.spin_some(0.05)
        ended = self._group.ended()
        if ended is not None:
            name, status = ended
            raise EpisodeError(f"node {name} ended with exit status {status}: {self._last_line()}")
        if time.monotonic() > deadline:
            raise EpisodeError(f"{complaint}: {self._last_line()}")

    def _last_line(self) -> str:
        self._group.drain()
        return self._tail.last

    def _call(self, client: Client, request: Any, again: float = ASK_AGAIN) -> Any:
        deadline = time.monotonic() + self._stall_timeout
        return call_repeatedly(client, request, lambda what: self._spin(deadline, what), again)

    def _set(self, node: str, values: dict[str, Any]) -> None:
        if node not in self._setters:
            service = f"{node}/set_parameters"
            self._setters[node] = self._node.create_client(SetParameters, service)
        answer = self._call(self._setters[node], parameters_request(values))
        for result in answer.results:
            if not result.successful:
                raise EpisodeError(f"{node}: {result.reason}")

    def _await_end(
        self, episode: int, on_progress: Callable[[dict[str, Any]], None] | None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {}
        stamp, deadline = self._stamp, time.monotonic() + self._stall_timeout
        while True:
            status = self._status
            if status.get("episode") == episode:
                if on_progress is not None and status != told:
                    told = status
                    on_progress(status)
                if status["state"] not in ("idle", "running"):
                    return status
            if self._stamp != stamp:
                stamp, deadline = self._stamp, time.monotonic() + self._stall_timeout
            self._spin(deadline, "the graph has stalled")

    # -- listening ---------------------------------------------------------------------------

    def _on_status(self, message: String) -> None:
        self._status = json.loads(message.data)

    def _on_joints(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        if self._ticks is not None:
            if stamp < self._stamp:
                self._ticks.clear()
                self._joints.clear()
            self._joints[stamp] = from_named_values(message)
        self._stamp = stamp

    def _listen(self, camera: str) -> list[Any]:
        subscribe = self._node.create_subscription
        self._joints.clear()
        return [
            subscribe(Image, f"cameras/{camera}/image_raw", self._on_image, _WATCH),
            subscribe(JointState, "gate/weights", self._on_weights, _LISTEN),
            *(
                subscribe(
                    PoseWithCovarianceStamped,
                    f"objects/{name}/pose",
                    partial(self._on_pose, name),
                    _LISTEN,
                )
                for name in OBJECTS
            ),
        ]

    def _tick(self, message: Any) -> TickRecord:
        return self._ticks.setdefault(from_stamp(message.header.stamp), TickRecord(0.0))

    def _on_image(self, message: Image) -> None:
        self._tick(message).image = from_image(message, message.width, message.height).copy()

    def _on_weights(self, message: JointState) -> None:
        self._tick(message).weights = from_named_values(message)

    def _on_pose(self, name: str, message: PoseWithCovarianceStamped) -> None:
        self._tick(message).objects[name] = from_pose(message)

    def _recorded(self) -> tuple[TickRecord, ...]:
        ticks, self._ticks = self._ticks, None
        if not ticks:
            return ()
        first = min(ticks)
        for stamp, tick in ticks.items():
            tick.time = (stamp - first) * 1e-9
            tick.joints = self._joints.get(stamp, {})
        return tuple(ticks[stamp] for stamp in sorted(ticks))


def run_episodes(
    requests: Iterable[tuple[int | str, int]],
    options: GraphOptions | None = None,
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> list[EpisodeResult]:
    """Run episodes in one graph.

    Args:
        requests: scenario (a number) or skill (a name), and seed, of each.
        options: of the graph.
        on_result: called after each.
    """
    results = []
    with EpisodeRunner(options) as runner:
        for what, seed in requests:
            kind = "skill" if isinstance(what, str) else "scenario"
            result = runner.run(**{kind: what}, seed=seed)
            results.append(result)
            if on_result is not None:
                on_result(result)
    return results
