"""Between ROS messages and plain values. Stamps are integers [ns]."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped, PoseWithCovarianceStamped, TwistStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker

from moe_robot_control.control.command_stamp import answered_stamp
from moe_robot_control.errors import MoeRobotControlError

NANOSECONDS = 1_000_000_000


class MessageError(MoeRobotControlError):
    """A message whose content cannot be used."""


def to_stamp(nanoseconds: int) -> Time:
    """A stamp from integer nanoseconds."""
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def from_stamp(stamp: Time) -> int:
    """Integer nanoseconds of a stamp."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def to_image(stamp: int, frame: str, rgb: np.ndarray) -> Image:
    """An `rgb8` image from uint8 pixels, shape (height, width, 3)."""
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8")
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    message.step = 3 * rgb.shape[1]
    message.data = array.array("B", np.ascontiguousarray(rgb, dtype=np.uint8).tobytes())
    return message


def from_image(message: Image, width: int, height: int) -> np.ndarray:
    """RGB pixels, uint8, shape (height, width, 3), of an `rgb8` or `bgr8` image.

    Raises:
        MessageError: another encoding or size, or data that are too short.
    """
    if message.encoding not in ("rgb8", "bgr8"):
        raise MessageError(f"encoding {message.encoding!r}, expected 'rgb8' or 'bgr8'")
    if (message.width, message.height) != (width, height):
        raise MessageError(
            f"size {message.width}x{message.height}, expected {width}x{height} as in camera_info"
        )
    step = message.step or 3 * width
    if step < 3 * width or len(message.data) < step * height:
        raise MessageError(f"{len(message.data)} bytes of data, expected {3 * width * height}")
    rows = np.frombuffer(message.data, dtype=np.uint8, count=step * height).reshape(height, step)
    image = rows[:, : 3 * width].reshape(height, width, 3)
    return image if message.encoding == "rgb8" else image[..., ::-1]


def to_camera_info(
    stamp: int, frame: str, size: tuple[int, int], focal: tuple[float, float], centre: Sequence
) -> CameraInfo:
    """Intrinsics of an undistorted camera: size (width, height), fx, fy and cx, cy [px]."""
    (fx, fy), (cx, cy) = focal, centre
    message = CameraInfo(width=size[0], height=size[1], distortion_model="plumb_bob")
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    message.d = [0.0] * 5
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def to_named_values(stamp: int, values: Mapping[str, float], frame: str = "") -> JointState:
    """Named and stamped values, as a JointState with names and positions only."""
    message = JointState(name=list(values))
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    message.position = array.array("d", values.values())
    return message


def from_named_values(message: JointState) -> dict[str, float]:
    """Names and positions of a JointState.

    Raises:
        MessageError: not as many positions as names.
    """
    if len(message.name) != len(message.position):
        raise MessageError(f"{len(message.name)} names but {len(message.position)} positions")
    return dict(zip(message.name, message.position, strict=True))


def pick_positions(message: JointState, names: Sequence[str]) -> np.ndarray:
    """Positions of the joints `names`, whatever their order in the message. Shape (n,).

    Raises:
        MessageError: a joint is missing or named twice, or not as many positions as names.
    """
    values = from_named_values(message)
    if len(values) < len(message.name):
        twice = next(name for name in values if message.name.count(name) > 1)
        raise MessageError(f"joint {twice!r} is named twice")
    try:
        return np.array([values[name] for name in names])
    except KeyError as error:
        raise MessageError(f"joint {error.args[0]!r} is missing") from None


def pick_velocities(message: JointState, names: Sequence[str]) -> np.ndarray | None:
    """Velocities of the joints `names`, shape (n,); None where the message tells none."""
    if len(message.velocity) != len(message.name):
        return None
    values = dict(zip(message.name, message.velocity, strict=True))
    velocities = np.array([values.get(name, np.nan) for name in names])
    return velocities if np.isfinite(velocities).all() else None


def to_twist(
    stamp: int, frame: str, velocity: np.ndarray, angular: Sequence[float] = (0.0, 0.0, 0.0)
) -> TwistStamped:
    """A linear velocity [m/s] and an angular one [rad/s], shapes (3,)."""
    message = TwistStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    linear = message.twist.linear
    linear.x, linear.y, linear.z = (float(v) for v in velocity)
    turn = message.twist.angular
    turn.x, turn.y, turn.z = (float(v) for v in angular)
    return message


def from_twist(message: TwistStamped) -> np.ndarray:
    """Linear velocity [m/s]. Shape (3,)."""
    linear = message.twist.linear
    return np.array([linear.x, linear.y, linear.z])


def to_pose(
    stamp: int, frame: str, position: np.ndarray, covariance: np.ndarray
) -> PoseWithCovarianceStamped:
    """A position [m], shape (3,), with covariance [m^2], shape (3, 3); no orientation known."""
    message = PoseWithCovarianceStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    pose = message.pose.pose
    pose.position.x, pose.position.y, pose.position.z = (float(v) for v in position)
    full = np.zeros((6, 6))
    full[:3, :3] = covariance
    # orientation is not estimated: REP-103 has no mark for that, so a variance of half a turn
    full[[3, 4, 5], [3, 4, 5]] = np.pi**2
    message.pose.covariance = full.ravel()
    return message


def from_pose(message: PoseWithCovarianceStamped) -> np.ndarray:
    """Position [m]. Shape (3,)."""
    position = message.pose.pose.position
    return np.array([position.x, position.y, position.z])


def to_plain_pose(stamp: int, frame: str, position: np.ndarray) -> PoseStamped:
    """A position [m], shape (3,), with identity orientation."""
    message = PoseStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame
    target = message.pose.position
    target.x, target.y, target.z = (float(v) for v in position)
    return message


def to_arrow(
    stamp: int, frame: str, start: np.ndarray, end: np.ndarray, colour: Sequence[float]
) -> Marker:
    """An arrow between two points [m]; no length makes it vanish. Colour: red, green, blue."""
    marker = Marker(ns="command", type=Marker.ARROW, action=Marker.ADD)
    marker.header.stamp = to_stamp(stamp)
    marker.header.frame_id = frame
    if np.allclose(start, end):
        marker.action = Marker.DELETE
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in (start, end)]
    marker.pose.orientation.w = 1.0
    marker.scale.x, marker.scale.y, marker.scale.z = 0.008, 0.02, 0.03
    red, green, blue = colour
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = red, green, blue, 1.0
    return marker


def to_command(stamp: int | None, values: Sequence[float] | np.ndarray) -> Float64MultiArray:
    """A command for ros2_control's forward controllers.

    The label of its only dimension tells the stamp that it answers; controllers ignore it.
    """
    message = Float64MultiArray()
    message.data = array.array("d", np.asarray(values, dtype=np.float64))
    size = len(message.data)
    label = "" if stamp is None else str(stamp)
    message.layout.dim = [MultiArrayDimension(label=label, size=size, stride=size)]
    return message


def to_trajectory(
    names: Sequence[str], positions: np.ndarray, velocities: np.ndarray, after: float
) -> JointTrajectory:
    """One point [rad], [rad/s] that joints pass `after` [s] from when the message arrives."""
    nanoseconds = round(after * NANOSECONDS)
    point = JointTrajectoryPoint(
        positions=array.array("d", positions), velocities=array.array("d", velocities)
    )
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, NANOSECONDS)
    # a stamp of zero: begin at once
    return JointTrajectory(joint_names=list(names), points=[point])


def from_command(message: Float64MultiArray, size: int) -> tuple[int | None, np.ndarray]:
    """Stamp answered (None where the sender gave none) and values, shape (size,).

    Raises:
        MessageError: another size, or values that are not finite.
    """
    values = np.array(message.data, dtype=np.float64)
    if values.shape != (size,):
        raise MessageError(f"{len(values)} values, expected {size}")
    if not np.isfinite(values).all():
        raise MessageError("values are not finite")
    return answered_stamp(message), values
