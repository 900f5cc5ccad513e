"""Episodes on disk: one rosbag2 folder each, holding one MCAP file.

Topics and types are those of the graph, so that `ros2 bag play` feeds an episode to it. Every
message of a step carries the step's stamp. The label of a step is `command/twist` (velocity)
and `command/gripper` (opening); the gate's label is `gate/weights`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from mcap_ros2.writer import Writer

from moe_robot_control.demonstrations.bag import METADATA, Bag, EpisodeError, read_bag
from moe_robot_control.demonstrations.messages import DATATYPES, definition
from moe_robot_control.demonstrations.recording import Decoder, Recording, align
from moe_robot_control.policies.spaces import OBJECTS, SKILLS, Scene

JOINT_STATE = "sensor_msgs/msg/JointState"
POSE = "geometry_msgs/msg/PoseStamped"
OBJECT_POSE = "geometry_msgs/msg/PoseWithCovarianceStamped"
TWIST = "geometry_msgs/msg/TwistStamped"
TOPICS: dict[str, str] = {
    "joint_states": JOINT_STATE,
    "end_effector/pose": POSE,
    "objects/visible": JOINT_STATE,
    **{f"objects/{name}/pose": OBJECT_POSE for name in OBJECTS},
    "gate/weights": JOINT_STATE,
    "command/twist": TWIST,
    "command/gripper": JOINT_STATE,
}
LAST_TOPIC = "command/gripper"
"""Written last in every step: a step without it was cut off."""
CHUNK_SIZE = 32 * 1024
"""Of a compressed chunk, about ten steps [bytes]: what a crash can cost."""


@dataclass(frozen=True)
class Episode:
    """One demonstration of T steps.

    Attributes:
        stamps: [s]. Shape (T,).
        scene: what the policies knew, arrays with leading axis T.
        actions: velocity [m/s] and gripper opening [m] to imitate. Shape (T, 4).
        weights: the gate to imitate, in the order of `SKILLS`. Shape (T, 7).
        metadata: skill or scenario, seed, success, source and more, as text.
        operator: whether an operator commanded, rather than the policy. Shape (T,), bool;
            None: nobody told.
    """

    stamps: np.ndarray
    scene: Scene
    actions: np.ndarray
    weights: np.ndarray
    metadata: dict[str, str] = field(default_factory=dict)
    operator: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.stamps)


class EpisodeWriter:
    """Writes an episode step by step; use as a context manager."""

    def __init__(self, folder: str | Path, metadata: Mapping[str, Any], frame: str) -> None:
        """Create the folder.

        Args:
            folder: of this episode; must not exist.
            metadata: stored in the MCAP file.
            frame: name of the arm's base frame.

        Raises:
            EpisodeError: the folder exists already: nothing recorded is overwritten.
        """
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True)
        except FileExistsError as error:
            raise EpisodeError(f"{self._folder}: exists already") from error
        self._path = self._folder / f"{self._folder.name}_0.mcap"
        self._stream = self._path.open("wb")
        self._writer = Writer(self._stream, chunk_size=CHUNK_SIZE)
        self._schemas = {
            name: self._writer.register_msgdef(name, definition(name)) for name in DATATYPES
        }
        # first, so that a file cut off still tells what it is
        facts = {key: str(value) for key, value in metadata.items()}
        self._writer._writer.add_metadata(METADATA, facts)
        self._frame = frame
        self._counts = dict.fromkeys(TOPICS, 0)
        self._first: int | None = None
        self._last = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(
        self,
        stamp: float,
        joints: Mapping[str, float],
        scene: Scene,
        action: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Write one step.

        Args:
            stamp: [s].
            joints: positions by joint name, the gripper's opening among them [rad], [m].
            scene: one scene, without a leading axis.
            action: to imitate. Shape (4,).
            weights: to imitate. Shape (7,).
        """
        now = round(stamp * 1e9)
        header = {
            "stamp": {"sec": now // 10**9, "nanosec": now % 10**9},
            "frame_id": self._frame,
        }
        self._write(
            "joint_states", now, _named(header, list(joints), np.fromiter(joints.values(), float))
        )
        self._write("end_effector/pose", now, {"header": header, "pose": _pose(scene.end_effector)})
        known = [name for name, here in zip(OBJECTS, scene.known, strict=True) if here]
        for name in known:
            pose = _pose(scene.positions[OBJECTS.index(name)])
            covariance = {"pose": pose, "covariance": [0.0] * 36}
            self._write(f"objects/{name}/pose", now, {"header": header, "pose": covariance})
        self._write("objects/visible", now, _named(header, known, np.ones(len(known))))
        self._write("gate/weights", now, _named(header, list(SKILLS), weights))
        twist = {"linear": _xyz(action[:3]), "angular": _xyz(np.zeros(3))}
        self._write("command/twist", now, {"header": header, "twist": twist})
        gripper = _named(header, ["gripper"], np.asarray(action[3:4]))
        gripper["velocity"] = [float(scene.gripper_width)]
        self._write(LAST_TOPIC, now, gripper)
        self._stream.flush()

    def close(self) -> None:
        """Finish the file and write rosbag2's `metadata.yaml`."""
        if self._stream.closed:
            return
        self._writer.finish()
        self._stream.close()
        (self._folder / "metadata.yaml").write_text(
            yaml.safe_dump({"rosbag2_bagfile_information": self._bag_information()})
        )

    def _write(self, topic: str, now: int, message: dict[str, Any]) -> None:
        self._writer.write_message(
            topic, self._schemas[TOPICS[topic]], message, now, now, self._counts[topic]
        )
        self._counts[topic] += 1
        self._first = now if self._first is None else self._first
        self._last = now

    def _bag_information(self) -> dict[str, Any]:
        start = self._first or 0
        duration = {"nanoseconds": self._last - start}
        beginning = {"nanoseconds_since_epoch": start}
        total = sum(self._counts.values())
        topics = [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": TOPICS[topic],
                    "serialization_format": "cdr",
                    "offered_qos_profiles": "",
                },
                "message_count": count,
            }
            for topic, count in self._counts.items()
            if count
        ]
        return {
            "version": 5,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": beginning,
            "message_count": total,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._path.name],
            "files": [
                {
                    "path": self._path.name,
                    "starting_time": beginning,
                    "duration": duration,
                    "message_count": total,
                }
            ],
        }


def read_episode(folder: str | Path) -> Episode:
    """Read an episode's folder, or its MCAP file: one recorded over the graph or without it.

    Of a damaged file every whole message before the damage is read; of one that was recorded
    over the graph, whole messages behind it as well.

    Raises:
        EpisodeError: missing, not MCAP, or without a single whole step.
    """
    bag = read_bag(folder, lambda topic: "cameras/" not in topic)
    return episode_of(bag, align(bag) if is_of_graph(bag) else None)


def is_of_graph(bag: Bag) -> bool:
    """Whether a bag was recorded over the graph, rather than step by step."""
    return "end_effector/pose" not in bag.counts


def episode_of(bag: Bag, recording: Recording | None) -> Episode:
    """The episode in a bag.

    Args:
        bag: with all topics but, perhaps, the cameras'.
        recording: the bag aligned; None: it holds steps.

    Raises:
        EpisodeError: not a single whole step.
    """
    if recording is None:
        return _read_steps(bag)
    kept = recording.commanded
    if not kept.any():
        raise EpisodeError(f"{bag.path}: nobody commanded the arm")
    return Episode(
        recording.stamps[kept],
        Scene(*(getattr(recording.scene, field.name)[kept] for field in fields(Scene))),
        recording.actions[kept],
        recording.weights[kept],
        _metadata(bag),
        recording.operator[kept],
    )


def _read_steps(bag: Bag) -> Episode:
    """An episode whose messages come step by step."""
    steps: list[dict[str, Any]] = []
    current: dict[str, Any] = {}
    decode = Decoder(bag)
    for message in bag.messages[: bag.intact]:
        decoded = decode(message)
        if decoded is not None:
            current[message.topic] = decoded
        if message.topic == LAST_TOPIC:
            steps.append(current)
            current = {}
    if not steps:
        raise EpisodeError(f"{bag.path}: holds no whole step")
    try:
        return _assemble(steps, _metadata(bag))
    except (AttributeError, LookupError, ValueError) as error:
        raise EpisodeError(f"{bag.path}: a step lacks a topic or a value: {error}") from error


def _metadata(bag: Bag) -> dict[str, str]:
    """The bag's, with success as True or False, or absent where nobody told."""
    metadata = dict(bag.metadata)
    success = metadata.pop("success", "").capitalize()
    if success in ("True", "False"):
        metadata["success"] = success
    if bag.damage:
        metadata["truncated"] = "true"
    return metadata


def load_episodes(folder: str | Path, successful: bool = False) -> list[Episode]:
    """All episodes below a folder, in the order of their names.

    Args:
        folder: of the data set.
        successful: leave out those that are known to have failed.

    Raises:
        EpisodeError: there are none, or one cannot be read.
    """
    found = episode_files(Path(folder))
    if not found:
        raise EpisodeError(f"{folder}: no episodes (*.mcap) there")
    episodes = [read_episode(path) for path in found]
    if successful:
        episodes = [each for each in episodes if each.metadata.get("success") != "False"]
        if not episodes:
            raise EpisodeError(f"{folder}: all {len(found)} episodes failed")
    return episodes


def hash_episodes(folder: str | Path) -> str:
    """SHA-256 over all episodes below a folder."""
    digest = hashlib.sha256()
    for path in episode_files(Path(folder)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def episode_files(folder: Path) -> list[Path]:
    """The MCAP files below a folder, or the file itself, in the order of their names."""
    if folder.is_file():
        return [folder]
    return sorted(folder.rglob("*.mcap"))


def _assemble(steps: list[dict[str, Any]], metadata: dict[str, str]) -> Episode:
    count = len(steps)
    positions = np.zeros((count, len(OBJECTS), 3))
    known = np.zeros((count, len(OBJECTS)), dtype=bool)
    tips, widths = np.zeros((count, 3)), np.zeros(count)
    actions, weights = np.zeros((count, 4)), np.zeros((count, len(SKILLS)))
    stamps = np.zeros(count)
    for t, step in enumerate(steps):
        gripper = step[LAST_TOPIC]
        stamp = gripper.header.stamp
        stamps[t] = stamp.sec + stamp.nanosec * 1e-9
        tips[t] = _vector(step["end_effector/pose"].pose.position)
        widths[t] = gripper.velocity[0]
        actions[t, :3] = _vector(step["command/twist"].twist.linear)
        actions[t, 3] = gripper.position[0]
        gate = step["gate/weights"]
        named = dict(zip(gate.name, gate.position, strict=True))
        weights[t] = [named[skill] for skill in SKILLS]
        for index, name in enumerate(OBJECTS):
            message = step.get(f"objects/{name}/pose")
            if message is not None:
                known[t, index] = True
                positions[t, index] = _vector(message.pose.pose.position)
    return Episode(stamps, Scene(tips, widths, positions, known), actions, weights, metadata)


def _vector(message: Any) -> tuple[float, float, float]:
    return message.x, message.y, message.z


def _xyz(values: np.ndarray) -> dict[str, float]:
    return {axis: float(value) for axis, value in zip("xyz", values, strict=True)}


def _pose(position: np.ndarray) -> dict[str, Any]:
    return {
        "position": _xyz(position),
        "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
    }


def _named(header: dict[str, Any], names: list[str], values: np.ndarray) -> dict[str, Any]:
    return {
        "header": header,
        "name": names,
        "position": [float(value) for value in values],
        "velocity": [],
        "effort": [],
    }
