"""Makes recordings like those of the running graph, for tests that need none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap_ros2.writer import Writer

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.demonstrations.messages import definition
from moe_robot_control.demonstrations.rosbag import write_bag_metadata
from moe_robot_control.policies.spaces import OBJECTS

ARM = ArmConfig.load()
START = 10 * 10**9
"""Stamp of the first message [ns]."""
WALL = 1_795_000_000 * 10**9
"""Its log time [ns]."""
TICK, DECISION = 10**7, 5 * 10**7
JOINT_STATE = "sensor_msgs/msg/JointState"
TWIST = "geometry_msgs/msg/TwistStamped"
POSE = "geometry_msgs/msg/PoseWithCovarianceStamped"
IMAGE = "sensor_msgs/msg/CompressedImage"
ARRAY = "std_msgs/msg/Float64MultiArray"


@dataclass
class Script:
    """What a recording shows.

    Attributes:
        seconds: its length.
        metadata: of the episode.
        frames: every how many ns something is perceived.
        operator: from when to when the operator commands [s], if the policy does not.
        cameras: whose images it has.
        keep: says of topic and index within it whether a message is recorded.
        change: given topic, index and message, changes the message.
    """

    seconds: float = 2.0
    metadata: Mapping[str, str] = field(
        default_factory=lambda: {
            "skill": "push_button",
            "seed": "7",
            "operator": "someone",
            "arm": "panda",
            "success": "true",
            "source": "graph",
        }
    )
    frames: int = DECISION
    operator: tuple[float, float] = (0.0, 100.0)
    cameras: tuple[str, ...] = ("front",)
    keep: Callable[[str, int], bool] = lambda topic, index: True
    change: Callable[[str, int, dict[str, Any]], None] = lambda topic, index, message: None
    seed: int = 0


def joints_at(time: float, seed: int = 0) -> np.ndarray:
    """Joint positions [rad] at a time [s]. Shape (7,)."""
    phase = np.arange(7) + seed
    return ARM.home + 0.1 * np.sin(2.0 * time + phase) - 0.1 * np.sin(phase)


def twist_at(time: float, seed: int = 0) -> np.ndarray:
    """Commanded velocity [m/s]. Shape (3,)."""
    return 0.1 * np.array([np.sin(3.0 * time + seed), np.cos(2.0 * time), np.sin(time)])


def opening_at(time: float) -> float:
    """Commanded opening [m]."""
    return 0.08 if time < 1.0 else 0.02


def position_of(name: str) -> np.ndarray:
    """Position of an object [m]. Shape (3,)."""
    return np.array([0.5, 0.02 * OBJECTS.index(name), 0.1])


def write_recording(folder: Path, script: Script | None = None) -> Path:
    """Write a recording of the graph; returns its folder."""
    script = script or Script()
    folder.mkdir(parents=True)
    path = folder / f"{folder.name}_0.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=8192)
        writer._writer.add_metadata("episode", dict(script.metadata) | {"success": "unknown"})
        out = _Out(writer, script)
        for now in range(0, round(script.seconds * 1e9), TICK):
            out.tick(now)
        success = {"success": script.metadata.get("success", "unknown"), "dropped": "0"}
        writer._writer.add_metadata("episode", success)
        writer.finish()
    write_bag_metadata(path, out.counts, WALL, out.last)
    return folder


class _Out:
    def __init__(self, writer: Writer, script: Script) -> None:
        self._writer, self._script = writer, script
        self._schemas: dict[str, Any] = {}
        self.counts: dict[str, tuple[str, int]] = {}
        self.last = WALL
        self._indices: dict[str, int] = {}

    def tick(self, now: int) -> None:
        """What the graph says in one tick."""
        script, time = self._script, now * 1e-9
        stamp = START + now
        operator = script.operator[0] <= time < script.operator[1]
        names = [*ARM.joint_names, ARM.gripper_joint]
        positions = [*joints_at(time, script.seed), opening_at(time)]
        self._named("joint_states", stamp, 1, names, positions)
        if now % script.frames == 0:
            for camera in script.cameras:
                message = {"format": "jpeg", "data": _picture(now // script.frames, script.seed)}
                topic = f"cameras/{camera}/image_raw/compressed"
                self._write(topic, IMAGE, message | _header(stamp), stamp, 3)
            for name in OBJECTS:
                pose = {"position": _xyz(position_of(name)), "orientation": _QUATERNION}
                message = {"pose": {"pose": pose, "covariance": [0.0] * 36}} | _header(stamp)
                self._write(f"objects/{name}/pose", POSE, message, stamp, 5)
            self._named("objects/visible", stamp, 5, OBJECTS, np.ones(len(OBJECTS)))
        if now % DECISION == 0:
            source = {"policy": 0.0, "teleop": 1.0, "idle": 0.0, "operator": operator}
            source["moving"] = operator
            self._named("command/source", stamp, 6, list(source), list(source.values()))
        if operator and now % (2 * TICK) == 0:
            twist = {"linear": _xyz(twist_at(time, script.seed)), "angular": _xyz(np.zeros(3))}
            message = {"twist": twist} | _header(stamp)
            self._write("command/twist", TWIST, message, stamp, 7)
            layout = {"dim": [], "data_offset": 0}
            message = {"layout": layout, "data": [opening_at(time)]}
            self._write(ARM.topics["gripper"], ARRAY, message, None, 7, stamp)

    def _named(self, topic: str, stamp: int, delay: int, names: Any, values: Any) -> None:
        message = {"name": list(names), "position": [float(value) for value in values]}
        message |= {"velocity": [], "effort": []} | _header(stamp)
        self._write(topic, JOINT_STATE, message, stamp, delay)

    def _write(
        self,
        topic: str,
        datatype: str,
        message: dict[str, Any],
        stamp: int | None,
        delay: int,
        logged: int | None = None,
    ) -> None:
        index = self._indices[topic] = self._indices.get(topic, -1) + 1
        if not self._script.keep(topic, index):
            return
        self._script.change(topic, index, message)
        if datatype not in self._schemas:
            schema = self._writer.register_msgdef(datatype, definition(datatype))
            self._schemas[datatype] = schema
        at = stamp if logged is None else logged
        log_time = WALL + at - START + delay * 10**6
        published = log_time if stamp is None else stamp
        self._writer.write_message(
            topic, self._schemas[datatype], message, log_time, published, index
        )
        self.counts[topic] = datatype, self.counts.get(topic, (datatype, 0))[1] + 1
        self.last = max(self.last, log_time)


_QUATERNION = {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


def _header(stamp: int) -> dict[str, Any]:
    time = {"sec": stamp // 10**9, "nanosec": stamp % 10**9}
    return {"header": {"stamp": time, "frame_id": ARM.base_frame}}


def _xyz(values: np.ndarray) -> dict[str, float]:
    return {axis: float(value) for axis, value in zip("xyz", values, strict=True)}


def _picture(index: int, seed: int) -> bytes:
    image = np.full((48, 64, 3), 40 + seed, np.uint8)
    cv2.circle(image, (8 + index % 48, 24), 6, (0, 0, 255), -1)
    return cv2.imencode(".jpg", image)[1].tobytes()
