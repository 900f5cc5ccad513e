"""Recordings of the graph, aligned to decisions: what was known, and what was done then.

Decisions are at the stamps of `objects/visible`. The label of one is the command in force at the
end of its period: whoever commands answers an observation within it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.demonstrations.bag import Bag, EpisodeError, Message
from moe_robot_control.policies.spaces import DECISION_PERIOD, OBJECTS, SKILLS, Scene
from moe_robot_control.policies.synchronizer import SceneSynchronizer

_PERIOD = round(DECISION_PERIOD * 1e9)
FRESH = 0.3
"""Commands and weights older than this are no answer [s]."""
_FRESH = round(FRESH * 1e9)
LET_GO = 0.15
"""An operator whose twists then stay away for so long lets go with the last of them [s]."""
_LET_GO = round(LET_GO * 1e9)


class Decoder:
    """Decodes the messages of a bag by the definitions that it holds."""

    def __init__(self, bag: Bag) -> None:
        self._schemas = bag.schemas
        self._factory = DecoderFactory()
        self._decoders: dict[str, Callable[[bytes], Any] | None] = {}

    def __call__(self, message: Message) -> Any | None:
        """The message; None where it is damaged or of no known type."""
        name = message.datatype
        if name not in self._decoders:
            self._decoders[name] = self._make(name)
        decode = self._decoders[name]
        try:
            return None if decode is None else decode(message.data)
        except (struct.error, ValueError, LookupError, OverflowError, TypeError, EOFError):
            return None

    def _make(self, name: str) -> Callable[[bytes], Any] | None:
        text = self._schemas.get(name, "").encode()
        try:
            # the factory knows schemas by their number
            number = 1 + len(self._decoders)
            schema = Schema(id=number, name=name, encoding="ros2msg", data=text)
            return self._factory.decoder_for("cdr", schema)
        except Exception:  # the parser of damaged definitions raises whatever it likes
            return None


@dataclass(frozen=True)
class Recording:
    """T decisions of one recording.

    Attributes:
        stamps: [s]. Shape (T,).
        scene: what the policies knew, arrays with leading axis T.
        actions: velocity [m/s] and gripper opening [m] that were commanded. Shape (T, 4).
        weights: of the experts, in the order of `SKILLS`; zeros where nobody gated. Shape (T, 7).
        commanded: whether anybody moved the arm; not while the operator's last twist, by which
            he let go, is still in force: he shows nothing then. Shape (T,), bool.
        operator: whether it was the operator. Shape (T,), bool.
        gaps: decisions that are missing before each. Shape (T,), int.
    """

    stamps: np.ndarray
    scene: Scene
    actions: np.ndarray
    weights: np.ndarray
    commanded: np.ndarray
    operator: np.ndarray
    gaps: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)


class _Held:
    """Values that hold until the next, by their times [ns]."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, Any]] = []

    def add(self, time: int, value: Any) -> None:
        self._entries.append((time, value))

    def before(self, time: int, oldest: int | None = None) -> Any | None:
        """The last value before a time, unless it is older than `oldest`."""
        if not hasattr(self, "_times"):
            self._entries.sort(key=lambda entry: entry[0])
            self._times = np.array([entry[0] for entry in self._entries], dtype=np.int64)
        index = int(np.searchsorted(self._times, time)) - 1
        if index < 0 or (oldest is not None and self._times[index] < oldest):
            return None
        return self._entries[index][1]


def align(bag: Bag) -> Recording:
    """Align a recording of the graph to decisions.

    Raises:
        EpisodeError: it holds no decision at which the scene was known, or another arm's joints.
    """
    arm = ArmConfig.load(bag.metadata.get("arm") or "panda")
    kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
    synchronizer = SceneSynchronizer(lambda joints: kinematics.forward(joints)[0])
    decode = Decoder(bag)
    scenes: dict[int, Scene] = {}
    twists, grippers, sources = _Held(), _Held(), _Held()
    weights, operators = _Held(), _Held()
    clock: list[tuple[int, int]] = []
    told: list[int] = []
    for message in bag.messages:
        topic, stamp = message.topic, message.publish_time
        if (content := decode(message)) is None:
            continue
        done = None
        if topic == arm.topics["joint_states"]:
            values = dict(zip(content.name, content.position, strict=False))
            if not {*arm.joint_names, arm.gripper_joint} <= values.keys():
                continue
            joints = np.array([values[name] for name in arm.joint_names])
            opening = arm.gripper_opening(values[arm.gripper_joint])
            clock.append((stamp, message.log_time))
            if np.isfinite(joints).all():
                done = synchronizer.add_joint_state(stamp, joints, opening)
        elif topic == "objects/visible":
            done = synchronizer.add_visible(stamp, content.name)
        elif topic.startswith("objects/") and topic.endswith("/pose"):
            position = np.array(_xyz(content.pose.pose.position))
            if np.isfinite(position).all():
                done = synchronizer.add_position(stamp, topic.split("/")[1], position)
        elif topic == "teleop/twist":
            told.append(stamp)
        elif topic == "command/twist":
            twists.add(stamp, _xyz(content.twist.linear))
        elif topic == arm.topics["gripper"] and len(content.data) == 1:
            grippers.add(message.log_time, arm.gripper_opening(content.data[0]))
        elif topic in ("gate/weights", "teleop/weights", "command/source"):
            named = dict(zip(content.name, content.position, strict=False))
            held = {"gate/weights": weights, "teleop/weights": operators}.get(topic, sources)
            held.add(stamp, named)
        if done is not None:
            scenes.setdefault(*done)
    if not scenes:
        raise EpisodeError(f"{bag.path}: holds no whole step: no scene is complete")
    stamps = np.array(sorted(scenes), dtype=np.int64)
    logged = _log_times(stamps + _PERIOD, clock)
    actions, gates = np.zeros((len(stamps), 4)), np.zeros((len(stamps), len(SKILLS)))
    commanded, operated = np.zeros(len(stamps), bool), np.zeros(len(stamps), bool)
    shown = bag.metadata.get("skill", "")
    last = max((stamp for stamp, _ in clock), default=0)
    wishes = np.array([*sorted(told), last], dtype=np.int64)
    for t, stamp in enumerate(stamps.tolist()):
        end = stamp + _PERIOD
        twist = twists.before(end, end - _FRESH)
        opening = grippers.before(logged[t])
        source = sources.before(end, end - _FRESH)
        if twist is not None and opening is not None:
            actions[t] = (*twist, opening)
            commanded[t] = source is None or source.get("moving", 1.0) > 0
            operated[t] = source is not None and source.get("operator", 0.0) > 0
            if operated[t] and (wish := int(np.searchsorted(wishes[:-1], end))):
                commanded[t] &= bool(wishes[wish] - wishes[wish - 1] <= _LET_GO)
        named = operators.before(end, end - _FRESH) or weights.before(stamp + 1, stamp - _FRESH)
        if named is None and shown in SKILLS:
            named = {shown: 1.0}
        gates[t] = [(named or {}).get(skill, 0.0) for skill in SKILLS]
    commanded &= np.isfinite(actions).all(axis=1)
    gaps = np.maximum(np.round(np.diff(stamps, prepend=stamps[0] - _PERIOD) / _PERIOD) - 1, 0)
    known = [scenes[stamp] for stamp in stamps.tolist()]
    scene = Scene(
        np.array([each.end_effector for each in known]),
        np.array([each.gripper_width for each in known]),
        np.array([each.positions for each in known]).reshape(-1, len(OBJECTS), 3),
        np.array([each.known for each in known]).reshape(-1, len(OBJECTS)),
    )
    return Recording(stamps * 1e-9, scene, actions, gates, commanded, operated, gaps.astype(int))


def _log_times(stamps: np.ndarray, clock: list[tuple[int, int]]) -> np.ndarray:
    """When messages were received that are stamped so, by what joint states tell of it [ns]."""
    pairs = np.array(sorted(clock), dtype=np.int64)
    if not len(pairs):
        return stamps
    begin = pairs[0]
    # differences, or doubles would round nanoseconds since 1970
    relative = np.interp(stamps - begin[0], pairs[:, 0] - begin[0], pairs[:, 1] - begin[1])
    return relative.astype(np.int64) + begin[1]


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z
