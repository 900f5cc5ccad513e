"""ROS 2 message definitions of an episode's topics, as MCAP stores them."""

from __future__ import annotations

_SEPARATOR = "=" * 80

_PARTS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance\n",
    "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n",
}
_HEADER = ("std_msgs/Header", "builtin_interfaces/Time")
_POSE = ("geometry_msgs/Pose", "geometry_msgs/Point", "geometry_msgs/Quaternion")

_BODIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "sensor_msgs/msg/JointState": (
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\n"
        "float64[] effort\n",
        _HEADER,
    ),
    "geometry_msgs/msg/PoseStamped": (
        "std_msgs/Header header\ngeometry_msgs/Pose pose\n",
        (*_HEADER, *_POSE),
    ),
    "geometry_msgs/msg/PoseWithCovarianceStamped": (
        "std_msgs/Header header\ngeometry_msgs/PoseWithCovariance pose\n",
        (*_HEADER, "geometry_msgs/PoseWithCovariance", *_POSE),
    ),
    "geometry_msgs/msg/TwistStamped": (
        "std_msgs/Header header\ngeometry_msgs/Twist twist\n",
        (*_HEADER, "geometry_msgs/Twist", "geometry_msgs/Vector3"),
    ),
}


def definition(datatype: str) -> str:
    """Full text of a message type with all the types it needs."""
    body, needs = _BODIES[datatype]
    parts = [body, *(f"{_SEPARATOR}\nMSG: {name}\n{_PARTS[name]}" for name in needs)]
    return "".join(parts)


DATATYPES = tuple(_BODIES)
