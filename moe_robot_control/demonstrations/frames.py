"""Episodes with joints and camera images at every step, as other data set formats want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.demonstrations.bag import Bag, EpisodeError, Message, read_bag
from moe_robot_control.demonstrations.episode import Episode, episode_of, is_of_graph
from moe_robot_control.demonstrations.recording import Decoder, align, nearest

COMPRESSED = "/compressed"
"""Ending of the topics of images."""


@dataclass(frozen=True)
class Frames:
    """An episode of T steps.

    Attributes:
        path: of its MCAP file.
        episode: what was known and done.
        joint_names: of the arm, n.
        joints: positions [rad]. Shape (T, n).
        begin: stamp of the first joint state, before anybody commanded [s].
        of_graph: whether it was recorded over the graph, rather than step by step.
        jpegs: of each camera, the JPEG nearest in time to each step.
        distances: of those images from their steps [s], by camera. Shape (T,).
        sizes: of the images, by camera: height and width [px].
    """

    path: Path
    episode: Episode
    joint_names: tuple[str, ...]
    joints: np.ndarray
    begin: float
    of_graph: bool
    jpegs: dict[str, list[bytes]] = field(default_factory=dict)
    distances: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def success(self) -> bool | None:
        """Whether it succeeded; None where nobody told."""
        return {"True": True, "False": False}.get(self.episode.metadata.get("success", ""))

    @property
    def operator(self) -> np.ndarray:
        """Whether an operator commanded; in what tells nothing of it, True. Shape (T,)."""
        told = self.episode.operator
        return np.ones(len(self), dtype=bool) if told is None else told

    def image(self, camera: str, step: int) -> np.ndarray:
        """RGB pixels of a camera at a step. Shape (height, width, 3), uint8.

        Raises:
            EpisodeError: the image is damaged, or of another size than the camera's first.
        """
        pixels = cv2.imdecode(np.frombuffer(self.jpegs[camera][step], np.uint8), cv2.IMREAD_COLOR)
        if pixels is None or pixels.shape[:2] != self.sizes[camera]:
            raise EpisodeError(f"{self.path}: step {step}: a damaged image of camera {camera}")
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def read_frames(path: str | Path, images: bool = True) -> Frames:
    """Read an episode's folder or file.

    Args:
        path: of either.
        images: whether to read the cameras' images.

    Raises:
        EpisodeError: it cannot be read, holds no whole step, or lacks joint states.
        ArmConfigError: it is of an unknown arm.
    """
    bag = read_bag(path, lambda topic: images or "cameras/" not in topic)
    shown = [m for m in bag.messages if m.topic.endswith(COMPRESSED)]
    names = tuple(ArmConfig.load(bag.metadata.get("arm") or "panda").joint_names)
    if is_of_graph(bag):
        recording = align(bag)
        episode = episode_of(bag, recording)
        joints = recording.joints[recording.commanded]
    else:
        episode = episode_of(bag, None)
        joints = _joints(bag, episode.stamps, names)
    told = (m.publish_time * 1e-9 for m in bag.messages if _of_joints(m))
    begin = min(told, default=float(episode.stamps[0]))
    frames = Frames(bag.path, episode, names, joints, begin, is_of_graph(bag))
    decode = Decoder(bag)
    for camera, messages in _by_camera(shown).items():
        _take_images(frames, camera, messages, decode)
    return frames


def _of_joints(message: Message) -> bool:
    return message.topic.lstrip("/") == "joint_states"


def _joints(bag: Bag, stamps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Positions of the arm's joints at each step of an episode written step by step."""
    decode = Decoder(bag)
    told: dict[int, dict[str, float]] = {}
    for message in bag.messages[: bag.intact]:
        if _of_joints(message) and (content := decode(message)) is not None:
            told[message.publish_time] = dict(zip(content.name, content.position, strict=False))
    try:
        rows = [[told[round(stamp * 1e9)][name] for name in names] for stamp in stamps.tolist()]
    except KeyError as error:
        raise EpisodeError(f"{bag.path}: joint states lack {error} at a step") from error
    return np.array(rows)


def _by_camera(messages: list[Message]) -> dict[str, list[Message]]:
    found: dict[str, list[Message]] = {}
    for message in messages:
        parts = message.topic.strip("/").split("/")
        if len(parts) > 2 and parts[0] == "cameras":
            found.setdefault(parts[1], []).append(message)
    return dict(sorted(found.items()))


def _take_images(frames: Frames, camera: str, messages: list[Message], decode: Decoder) -> None:
    stamps = np.array([message.publish_time for message in messages]) * 1e-9
    wanted = frames.episode.stamps
    chosen = nearest(stamps, wanted)
    jpegs: dict[int, bytes] = {}
    for index in np.unique(chosen).tolist():
        content = decode(messages[index])
        jpegs[index] = b"" if content is None else bytes(content.data)
    first = np.frombuffer(next(iter(jpegs.values())), np.uint8)
    pixels = cv2.imdecode(first, cv2.IMREAD_COLOR) if len(first) else None
    if pixels is None:
        raise EpisodeError(f"{frames.path}: a damaged image of camera {camera}")
    frames.jpegs[camera] = [jpegs[index] for index in chosen.tolist()]
    frames.distances[camera] = np.abs(stamps[chosen] - wanted)
    frames.sizes[camera] = pixels.shape[:2]
