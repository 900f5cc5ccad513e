"""Records what the graph says and does as episodes, in a process of its own."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from moe_robot_control import __version__
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.demonstrations.episode import EpisodeError
from moe_robot_control.demonstrations.images import compress_image
from moe_robot_control.demonstrations.recorder import Recorder
from moe_robot_control.demonstrations.timeline import Timeline
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import complain, run_nodes
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.ros_messages import MessageError, from_named_values
from moe_robot_control.policies.spaces import NUM_SCENARIOS, OBJECTS, SKILLS

_SENSOR = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
_IMAGE = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)
_COMMAND = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
_WITHOUT_HEADER = (Float64MultiArray, String, Bool)
_OUTPUTS = {
    "joint_velocity": Float64MultiArray,
    "servo_twist": TwistStamped,
    "joint_trajectory": JointTrajectory,
}
_GATE = "gate"
"""Folder of episodes that do a scenario: what the manipulation network is trained on."""


@dataclass(frozen=True)
class _Topic:
    """One topic to record.

    Attributes:
        name: relative.
        kind: message class.
        qos: of the subscription.
        recorded: name and type in the episode, where another than subscribed to.
        convert: what the writing thread makes of a serialised message.
    """

    name: str
    kind: Any
    qos: QoSProfile
    recorded: tuple[str, str] | None = None
    convert: Callable[[bytes], bytes] | None = None


class DemoRecorderNode(Node):
    """Writes episodes into `directory`: one rosbag2 folder each, with one MCAP file.

    `~/start`, `~/stop`, `~/discard`, `~/mark_success` and `~/mark_failure` are Trigger services;
    marks and discarding concern the present episode or else the last. While `automatic`, every
    episode of the simulated bench is recorded from its beginning to its end, with skill,
    scenario, seed and success as the bench tells. `~/status` (latched JSON): state (idle,
    recording), episode, time [s], success, messages, dropped (by this node), lost (by the
    middleware), directory, automatic, skill, scenario, operator, complaint, hears (topics that
    somebody publishes).
    """

    def __init__(self, name: str = "demo_recorder", **options: object) -> None:
        super().__init__(name, **options)
        self._declare()
        parameters = self.parameters
        self._arm = ArmConfig.load(parameters["arm"])
        self._directory = Path(parameters["directory"]).expanduser().resolve()
        self._recorder = Recorder(self._directory)
        self._timeline = Timeline()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._began = self._ended = 0.0
        self._ending: tuple[float, dict[str, Any]] | None = None
        self._bench: int | None = None
        self._source: dict[str, float] = {}
        self._interventions = self._lost = 0
        self._complaint = ""
        self._status_out = self.create_publisher(String, "~/status", LATCHED)
        self._heard = {topic.name: self._subscribe(topic) for topic in self._topics()}
        for service, do in (
            ("start", self._start_by_hand),
            ("stop", partial(self._stop, {"reason": "asked"})),
            ("discard", self._discard),
            ("mark_success", partial(self._mark, True)),
            ("mark_failure", partial(self._mark, False)),
        ):
            self.create_service(Trigger, f"~/{service}", partial(self._serve, do))
        self.create_timer(1.0, self._publish_status, clock=self._steady)
        self.create_timer(0.05, self._end_when_due, clock=self._steady)
        self._publish_status()

    def close(self) -> None:
        """End the present episode, if any."""
        try:
            self._recorder.close()
        except EpisodeError as error:
            complain(self.get_name(), error)

    # -- set-up ------------------------------------------------------------------------------

    def _declare(self) -> None:
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("directory", "data/recordings", "Folder of the episodes.", fixed=True)
        declare("automatic", False, "Record every episode of the simulated bench.")
        declare("skill", "", "What is shown; empty: a scenario, or nothing named.", choices=_SKILLS)
        declare("scenario", 0, "The scenario that is done; 0: none.", 0, NUM_SCENARIOS)
        declare("operator", "", "Who demonstrates.")
        declare("seed", -1, "Seed of the next episode; -1: none.", -1, 2**31 - 1)
        declare("jpeg_quality", 90, "Of the recorded images.", 1, 100, fixed=True)
        declare("linger", 0.5, "Recorded on after the bench's episode ended [s].", 0.0, 10.0)

    def _topics(self) -> list[_Topic]:
        roles, output = self._arm.topics, self._arm.output
        named = [
            _Topic(roles["joint_states"], JointState, _SENSOR),
            _Topic("objects/visible", JointState, _SENSOR),
            _Topic("gate/weights", JointState, _SENSOR),
            _Topic("teleop/twist", TwistStamped, _COMMAND),
            _Topic("teleop/gripper", JointState, _COMMAND),
            _Topic("teleop/weights", JointState, _COMMAND),
            _Topic("command/twist", TwistStamped, _SENSOR),
            _Topic("command/source", JointState, _SENSOR),
            _Topic("command/gripper", Float64MultiArray, _SENSOR),
            _Topic("command/joint_velocity", Float64MultiArray, _SENSOR),
            _Topic(roles[output], _OUTPUTS[output], _COMMAND),
            _Topic(roles["gripper"], Float64MultiArray, _COMMAND),
            _Topic(roles["emergency_stop"], Bool, _COMMAND),
            _Topic("diagnostics", DiagnosticArray, _COMMAND),
            _Topic("mujoco_bridge/status", String, LATCHED),
        ]
        poses = [
            _Topic(f"objects/{name}/pose", PoseWithCovarianceStamped, _SENSOR) for name in OBJECTS
        ]
        experts = [
            _Topic(f"experts/{skill}/{what}", kind, _SENSOR)
            for skill in SKILLS
            for what, kind in (("twist", TwistStamped), ("gripper", JointState))
        ]
        compress = partial(compress_image, quality=self.parameters["jpeg_quality"])
        cameras: list[_Topic] = []
        for name in self._arm.cameras:
            raw = f"cameras/{name}/image_raw"
            compressed = f"{raw}/compressed", "sensor_msgs/msg/CompressedImage"
            cameras += [
                _Topic(raw, Image, _IMAGE, compressed, compress),
                _Topic(f"cameras/{name}/camera_info", CameraInfo, _SENSOR),
            ]
        return [*named, *poses, *experts, *cameras]

    def _subscribe(self, topic: _Topic) -> Subscription:
        name, datatype = topic.recorded or (topic.name, _datatype(topic.kind))
        stamped = topic.kind not in _WITHOUT_HEADER
        watch = {
            self._arm.topics["joint_states"]: self._on_joint_states,
            "mujoco_bridge/status": self._on_bench,
            "command/source": self._on_source,
        }.get(topic.name)

        def on_message(data: bytes) -> None:
            now = time.time_ns()
            stamp = _stamp_of(data) if stamped else None
            if watch is not None:
                watch(data, stamp)
            if not self._recorder.status.recording:
                return
            if self._timeline.includes(stamp or 0):
                self._recorder.put(name, datatype, now, stamp or now, data, topic.convert)

        return self.create_subscription(
            topic.kind,
            topic.name,
            on_message,
            topic.qos,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._on_lost),
        )

    # -- what is watched ---------------------------------------------------------------------

    def _on_joint_states(self, data: bytes, stamp: int) -> None:
        if self._timeline.advance(stamp) and self._recorder.status.recording:
            self._attempt(partial(self._stop, {"reason": "time was set back"}))

    def _on_source(self, data: bytes, stamp: int) -> None:
        try:
            source = from_named_values(deserialize_message(data, JointState))
        except MessageError:
            return
        if source.get("operator") and not self._source.get("operator"):
            self._interventions += 1
        self._source = source

    def _on_bench(self, data: bytes, stamp: None) -> None:
        """Follow the simulated bench from episode to episode."""
        if not self.parameters["automatic"]:
            return
        bench = json.loads(deserialize_message(data, String).data)
        if bench["state"] == "running":
            if bench["episode"] != self._bench:
                self._bench = bench["episode"]
                if self._recorder.status.recording:
                    self._attempt(partial(self._stop, {"reason": "begun anew"}))
                self._attempt(partial(self._start, bench, new_time=True))
        elif self._recorder.status.recording and bench["episode"] == self._bench:
            success = bench["state"] == "succeeded"
            if self._recorder.status.success is None:
                self._attempt(partial(self._mark, success))
            due = time.monotonic() + self.parameters["linger"]
            facts = {"reason": bench["state"], "stages_done": bench["stages_done"]}
            self._ending = due, facts

    def _end_when_due(self) -> None:
        if self._ending is not None and time.monotonic() >= self._ending[0]:
            facts = self._ending[1]
            if self._recorder.status.recording:
                self._attempt(partial(self._stop, facts))
            self._ending = None

    def _on_lost(self, info: QoSMessageLostInfo) -> None:
        if self._recorder.status.recording:
            self._lost += info.total_count_change

    # -- episodes ----------------------------------------------------------------------------

    def _start_by_hand(self) -> str:
        parameters = self.parameters
        seed = parameters["seed"]
        what = {
            "skill": parameters["skill"] or None,
            "scenario": parameters["scenario"] or None,
            "seed": None if seed < 0 else seed,
        }
        return self._start(what, new_time=False)

    def _start(self, what: dict[str, Any], new_time: bool) -> str:
        """Begin an episode of a skill or a scenario with a seed; each may be None."""
        started = datetime.now(UTC)
        if what["skill"]:
            folder = label = what["skill"]
        elif what["scenario"]:
            folder, label = _GATE, f"scenario_{what['scenario']}"
        else:
            folder = label = "unnamed"
        name = f"{folder}/{label}_{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03d}"
        metadata = {
            "skill": what["skill"] or "",
            "scenario": what["scenario"] or "",
            "seed": "" if what["seed"] is None else what["seed"],
            "operator": self.parameters["operator"],
            "arm": self._arm.name,
            "base_frame": self._arm.base_frame,
            "gripper_joint": self._arm.gripper_joint,
            "source": "graph",
            "software_version": __version__,
            "started": started.isoformat(timespec="milliseconds"),
        }
        self._recorder.start(name, metadata)
        self._timeline.begin(new_time)
        self._ending = None
        self._interventions = self._lost = 0
        self._source = {}
        self._began = time.monotonic()
        return f"recording {name}"

    def _stop(self, facts: dict[str, Any]) -> str:
        self._ending = None
        self._ended = time.monotonic()
        mode = next((name for name in ("policy", "teleop", "idle") if self._source.get(name)), "")
        ended = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"ended": ended, "mode": mode, "interventions": self._interventions}
        folder = self._recorder.stop(told | {"lost": self._lost} | facts)
        status = self._recorder.status
        missing = f", {status.dropped} dropped, {self._lost} lost"
        text = f"{self._name_of(folder)}: {status.messages} messages"
        text += missing if status.dropped or self._lost else ""
        self.get_logger().info(text)
        self._publish_status()
        return text

    def _discard(self) -> str:
        self._ending = None
        return f"discarded: {self._recorder.discard()}"

    def _mark(self, success: bool) -> str:
        self._recorder.mark(success)
        name = self._name_of(self._recorder.status.episode)
        return f"{name}: marked a {'success' if success else 'failure'}"

    def _serve(
        self, do: Callable[[], str], _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success, response.message = self._attempt(do)
        return response

    def _attempt(self, do: Callable[[], str]) -> tuple[bool, str]:
        try:
            done = True, do()
        except EpisodeError as error:
            self.get_logger().error(str(error))
            done = False, str(error)
        self._publish_status()
        return done

    # -- telling -----------------------------------------------------------------------------

    def _name_of(self, folder: Path) -> str:
        return str(folder.relative_to(self._directory))

    def _publish_status(self) -> None:
        status = self._recorder.status
        until = time.monotonic() if status.recording else self._ended
        told = {
            "state": "recording" if status.recording else "idle",
            "episode": "" if status.episode is None else self._name_of(status.episode),
            "time": round(until - self._began, 2),
            "success": status.success,
            "messages": status.messages,
            "dropped": status.dropped,
            "lost": self._lost,
            "directory": str(self._directory),
            "complaint": status.fault or status.complaint,
            "hears": [name for name, heard in self._heard.items() if heard.get_publisher_count()],
        }
        told |= {
            name: self.parameters[name] for name in ("automatic", "skill", "scenario", "operator")
        }
        if told["complaint"] and told["complaint"] != self._complaint:
            self.get_logger().error(told["complaint"])
        self._complaint = told["complaint"]
        self._status_out.publish(String(data=json.dumps(told)))


_SKILLS = ("", *SKILLS)


def _datatype(kind: Any) -> str:
    """As `sensor_msgs/msg/JointState`."""
    package, *_ = kind.__module__.split(".")
    return f"{package}/msg/{kind.__name__}"


def _stamp_of(data: bytes) -> int:
    """Stamp [ns] of a serialised message that begins with a header."""
    seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
    return seconds * 10**9 + nanoseconds


def main() -> int:
    """Console entry."""
    return run_nodes([DemoRecorderNode], "demo_recorder")


if __name__ == "__main__":
    sys.exit(main())
