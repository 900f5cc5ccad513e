"""Recordings of the graph, aligned to decisions: what was known, and what was done then.

Decisions are at the stamps of `objects/visible`; where more is seen than decisions are taken, at
those nearest to a decision period apart. The label of one is the command in force at the end of
its period: whoever commands answers an observation within it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.command_stamp import answered_stamp
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
SET_BACK = 0.5
"""Joint states by so much older than the newest belong to another time line [s]."""


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
        joints: positions of the arm's joints [rad]. Shape (T, n).
        scene: what the policies knew, arrays with leading axis T.
        actions: velocity [m/s] and gripper opening [m] that were commanded. Shape (T, 4).
        weights: of the experts, in the order of `SKILLS`; zeros where nobody gated. Shape (T, 7).
        commanded: whether anybody moved the arm; not while the operator's last twist, by which
            he let go, is still in force: he shows nothing then. Shape (T,), bool.
        operator: whether it was the operator. Shape (T,), bool.
        gaps: decisions that are missing before each. Shape (T,), int.
        incomplete: how many decisions are missing as not everything of their scene was recorded.
        surplus: how many scenes came between decisions.
        undecodable: messages, by topic.
    """

    stamps: np.ndarray
    joints: np.ndarray
    scene: Scene
    actions: np.ndarray
    weights: np.ndarray
    commanded: np.ndarray
    operator: np.ndarray
    gaps: np.ndarray
    incomplete: int
    surplus: int
    undecodable: dict[str, int]

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
        EpisodeError: it holds no decision at which the scene was known, has topics of unexpected
            types, or its time is set back.
        ArmConfigError: it is of an unknown arm.
    """
    arm = ArmConfig.load(bag.metadata.get("arm") or "panda")
    told = _Told(arm)
    decode = Decoder(bag)
    undecodable: dict[str, int] = {}
    for message in bag.messages:
        topic = message.topic.lstrip("/")
        content = decode(message)
        if content is None:
            undecodable[topic] = undecodable.get(topic, 0) + 1
            continue
        try:
            told.take(topic, message, content)
        except (AttributeError, TypeError, ValueError) as error:
            datatype = message.datatype
            raise EpisodeError(f"{bag.path}: {topic}: {datatype} is not as expected") from error
        except _SetBackError as error:
            raise EpisodeError(
                f"{bag.path}: time is set back after {told.elapsed:.1f} s; `demos split` parts it"
            ) from error
    if not told.scenes:
        raise EpisodeError(f"{bag.path}: holds no whole step: no scene is complete")
    everything = np.array(sorted(told.scenes), dtype=np.int64)
    stamps = everything[_nearest_to_slots(everything)]
    known = [told.scenes[stamp] for stamp in stamps.tolist()]
    scene = Scene(
        np.array([each.end_effector for each in known]),
        np.array([each.gripper_width for each in known]),
        np.array([each.positions for each in known]).reshape(-1, len(OBJECTS), 3),
        np.array([each.known for each in known]).reshape(-1, len(OBJECTS)),
    )
    actions, commanded, operator = _labels(told, stamps)
    gaps = np.maximum(np.round(np.diff(stamps, prepend=stamps[0] - _PERIOD) / _PERIOD) - 1, 0)
    return Recording(
        stamps=stamps * 1e-9,
        joints=np.array(list(told.joints.values()))[nearest(list(told.joints), stamps)],
        scene=scene,
        actions=actions,
        weights=_weights(told, stamps, bag.metadata.get("skill", "")),
        commanded=commanded,
        operator=operator,
        gaps=gaps.astype(int),
        incomplete=len(told.seen.difference(told.scenes)),
        surplus=len(everything) - len(stamps),
        undecodable=undecodable,
    )


class _SetBackError(Exception):
    """Time runs backwards."""


class _Told:
    """What the messages of a recording tell, by their times [ns].

    Attributes:
        scenes: complete ones.
        seen: stamps at which somebody looked.
        joints: positions of the arm's joints [rad]. Shape (n,) each.
        clock: stamp and log time of every joint state.
        wishes: stamps of the operator's twists.
    """

    def __init__(self, arm: ArmConfig) -> None:
        kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
        self._arm = arm
        self._synchronizer = SceneSynchronizer(lambda joints: kinematics.forward(joints)[0])
        self.scenes: dict[int, Scene] = {}
        self.seen: set[int] = set()
        self.joints: dict[int, np.ndarray] = {}
        self.clock: list[tuple[int, int]] = []
        self.wishes: list[int] = []
        self.twists, self.sources = _Held(), _Held()
        self.stamped_grippers, self.logged_grippers = _Held(), _Held()
        self.weights, self.operator_weights = _Held(), _Held()

    @property
    def elapsed(self) -> float:
        """From the first joint state to the last [s]."""
        return (self.clock[-1][0] - self.clock[0][0]) * 1e-9 if self.clock else 0.0

    def take(self, topic: str, message: Message, content: Any) -> None:
        """Take a message."""
        stamp = message.publish_time
        done = None
        if topic == self._arm.topics["joint_states"]:
            done = self._take_joints(stamp, message.log_time, content)
        elif topic == "objects/visible":
            self.seen.add(stamp)
            done = self._synchronizer.add_visible(stamp, content.name)
        elif topic.startswith("objects/") and topic.endswith("/pose"):
            position = np.array(_xyz(content.pose.pose.position))
            if np.isfinite(position).all():
                done = self._synchronizer.add_position(stamp, topic.split("/")[1], position)
        elif topic == "teleop/twist":
            self.wishes.append(stamp)
        elif topic == "command/twist":
            self.twists.add(stamp, _xyz(content.twist.linear))
        elif topic == self._arm.topics["gripper"] and len(content.data) == 1:
            self._take_gripper(message.log_time, content)
        elif topic == "gate/weights":
            self.weights.add(stamp, _named(content))
        elif topic == "teleop/weights":
            self.operator_weights.add(stamp, _named(content))
        elif topic == "command/source":
            self.sources.add(stamp, _named(content))
        if done is not None:
            self.scenes.setdefault(*done)

    def _take_gripper(self, log_time: int, content: Any) -> None:
        opening = self._arm.gripper_opening(content.data[0])
        stamp = answered_stamp(content)
        if stamp is None:
            self.logged_grippers.add(log_time, opening)
        else:
            # better: when it was received depends on how busy the machine was
            self.stamped_grippers.add(stamp, opening)

    def _take_joints(self, stamp: int, log_time: int, content: Any) -> tuple[int, Scene] | None:
        values = _named(content)
        names = self._arm.joint_names
        if not {*names, self._arm.gripper_joint} <= values.keys():
            return None  # of another device
        if self.clock and stamp < self.clock[-1][0] - SET_BACK * 1e9:
            raise _SetBackError
        joints = np.array([values[name] for name in names])
        opening = self._arm.gripper_opening(values[self._arm.gripper_joint])
        if not np.isfinite([*joints, opening]).all():
            return None
        self.clock.append((stamp, log_time))
        self.joints[stamp] = joints
        return self._synchronizer.add_joint_state(stamp, joints, opening)


def _labels(told: _Told, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actions, whether they were commanded, and whether by the operator."""
    logged = _log_times(stamps + _PERIOD, told.clock)
    actions = np.zeros((len(stamps), 4))
    commanded, operator = np.zeros(len(stamps), bool), np.zeros(len(stamps), bool)
    wishes = np.array([*sorted(told.wishes), told.clock[-1][0]], dtype=np.int64)
    for t, stamp in enumerate(stamps.tolist()):
        end = stamp + _PERIOD
        twist = told.twists.before(end, end - _FRESH)
        opening = told.stamped_grippers.before(end)
        if opening is None:
            opening = told.logged_grippers.before(int(logged[t]))
        if twist is None or opening is None:
            continue
        source = told.sources.before(end, end - _FRESH) or {}
        actions[t] = (*twist, opening)
        commanded[t] = source.get("moving", 1.0) > 0
        operator[t] = source.get("operator", 0.0) > 0
        wish = int(np.searchsorted(wishes[:-1], end))
        if operator[t] and wish:
            commanded[t] &= bool(wishes[wish] - wishes[wish - 1] <= _LET_GO)
    finite = np.isfinite(actions).all(axis=1)
    return np.where(finite[:, None], actions, 0.0), commanded & finite, operator


def _weights(told: _Told, stamps: np.ndarray, skill: str) -> np.ndarray:
    """The operator's where he gated, else the gate's, else all to the skill that is shown."""
    shown = {skill: 1.0}
    found = np.zeros((len(stamps), len(SKILLS)))
    for t, stamp in enumerate(stamps.tolist()):
        end = stamp + _PERIOD
        named = told.operator_weights.before(end, end - _FRESH)
        named = named or told.weights.before(stamp + 1, stamp - _FRESH) or shown
        found[t] = [named.get(name, 0.0) for name in SKILLS]
    return found


def _nearest_to_slots(stamps: np.ndarray) -> np.ndarray:
    """Of stamps in order, the indices of those nearest to every decision period."""
    slots, away = np.divmod(stamps - stamps[0] + _PERIOD // 2, _PERIOD)
    order = np.lexsort((np.abs(away - _PERIOD // 2), slots))
    return order[np.unique(slots[order], return_index=True)[1]]


def nearest(times: Sequence[int], wanted: np.ndarray) -> np.ndarray:
    """For each wanted time, the index of the nearest, in whatever order; ties: the earlier."""
    order = np.argsort(times, kind="stable")
    ordered = np.asarray(times)[order]
    after = np.clip(np.searchsorted(ordered, wanted), 0, len(ordered) - 1)
    before = np.maximum(after - 1, 0)
    earlier = wanted - ordered[before] <= ordered[after] - wanted
    return order[np.where(earlier, before, after)]


def _named(content: Any) -> dict[str, float]:
    return dict(zip(content.name, content.position, strict=False))


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
