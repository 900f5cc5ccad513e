"""What a relay can do to a message: each takes a message and returns a bad one.

A message of a kind that a corruption does not know is not altered.
"""

from __future__ import annotations

import array
import copy
import math
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from sensor_msgs.msg import CameraInfo, Image, JointState

from moe_robot_control.nodes.ros_messages import from_stamp, to_stamp


def shift(message: Any, seconds: float) -> Any:
    """The same, stamped later."""
    stamp = from_stamp(message.header.stamp) + round(seconds * 1e9)
    message.header.stamp = to_stamp(max(stamp, 0))
    return message


def fill(message: Any, value: float) -> Any:
    """All numbers are `value`."""
    if isinstance(message, JointState):
        message.position = array.array("d", [value] * len(message.position))
        message.velocity = array.array("d", [value] * len(message.velocity))
    elif isinstance(message, TwistStamped):
        linear = message.twist.linear
        linear.x = linear.y = linear.z = value
    elif isinstance(message, PoseWithCovarianceStamped):
        position = message.pose.pose.position
        position.x = position.y = position.z = value
    elif isinstance(message, CameraInfo):
        message.k = [value] * 9
    return message


def first(message: Any, value: float) -> Any:
    """The first number is `value`."""
    if isinstance(message, JointState) and message.position:
        message.position[0] = value
    elif isinstance(message, TwistStamped):
        message.twist.linear.x = value
    elif isinstance(message, PoseWithCovarianceStamped):
        message.pose.pose.position.x = value
    return message


def empty(message: Any) -> Any:
    """Nothing in it but the header."""
    bare = type(message)()
    bare.header = message.header
    return bare


def short(message: Any) -> Any:
    """The last number, or half of the pixels, is missing."""
    if isinstance(message, JointState):
        message.position = message.position[:-1]
    elif isinstance(message, Image):
        message.data = message.data[: len(message.data) // 2]
    return message


def long(message: Any) -> Any:
    """A number too many."""
    if isinstance(message, JointState):
        message.position.append(0.0)
    return message


def missing(message: JointState) -> JointState:
    """The second value is missing, with its name."""
    message.name, message.position = (
        [*message.name[:1], *message.name[2:]],
        message.position[:1] + message.position[2:],
    )
    message.velocity = message.velocity[:1] + message.velocity[2:]
    return message


def rename(message: Any) -> Any:
    """The first value has another's name."""
    if isinstance(message, JointState):
        message.name = ["stranger", *message.name[1:]]
    return message


def reverse(message: JointState) -> JointState:
    """The same values with their names, in the opposite order."""
    message.name = list(reversed(message.name))
    message.position = message.position[::-1]
    message.velocity = message.velocity[::-1]
    return message


def negative(message: Any) -> Any:
    """One value is as much too low as another is too high, so that the sum stays."""
    if isinstance(message, JointState) and message.position:
        message.position[0] -= 0.5
        message.position[-1] += 0.5
    return message


def unnormalised(message: Any) -> Any:
    """Twice the sum."""
    if isinstance(message, JointState):
        message.position = array.array("d", [2.0 * value for value in message.position])
    return message


def encoding(message: Image) -> Image:
    """Another kind of pixels."""
    message.encoding = "mono16"
    return message


def size(message: Image) -> Image:
    """Another size than its camera has."""
    message.width, message.height = message.width // 2, message.height * 2
    return message


def noise(message: Image) -> Image:
    """Pixels without meaning."""
    count = len(message.data)
    pattern = bytes((73 * i * i + 19 * i) % 256 for i in range(256))
    message.data = array.array("B", (pattern * (count // 256 + 1))[:count])
    return message


CORRUPTIONS: dict[str, Callable[[Any], Any]] = {
    "nan": lambda message: fill(message, math.nan),
    "one_nan": lambda message: first(message, math.nan),
    "inf": lambda message: fill(message, math.inf),
    "huge": lambda message: fill(message, 1e9),
    "zero": lambda message: fill(message, 0.0),
    "empty": empty,
    "short": short,
    "long": long,
    "missing": missing,
    "rename": rename,
    "reverse": reverse,
    "negative": negative,
    "unnormalised": unnormalised,
    "encoding": encoding,
    "size": size,
    "noise": noise,
}


def corrupted(message: Any, kind: str) -> Any:
    """A corrupted copy."""
    return CORRUPTIONS[kind](copy.deepcopy(message))
