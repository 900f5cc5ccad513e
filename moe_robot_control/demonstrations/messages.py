"""ROS 2 message definitions of an episode's topics, as MCAP stores them."""

from __future__ import annotations

_SEPARATOR = "=" * 80

_PARTS = {
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "builtin_interfaces/Duration": "int32 sec\nuint32 nanosec\n",
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "geometry_msgs/Vector3": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Point": "float64 x\nfloat64 y\nfloat64 z\n",
    "geometry_msgs/Quaternion": "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n",
    "geometry_msgs/Pose": "geometry_msgs/Point position\ngeometry_msgs/Quaternion orientation\n",
    "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance\n",
    "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n",
    "sensor_msgs/RegionOfInterest": (
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n"
    ),
    "trajectory_msgs/JointTrajectoryPoint": (
        "float64[] positions\nfloat64[] velocities\nfloat64[] accelerations\n"
        "float64[] effort\nbuiltin_interfaces/Duration time_from_start\n"
    ),
    "std_msgs/MultiArrayDimension": "string label\nuint32 size\nuint32 stride\n",
    "std_msgs/MultiArrayLayout": "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset\n",
    "diagnostic_msgs/KeyValue": "string key\nstring value\n",
    "diagnostic_msgs/DiagnosticStatus": (
        "byte OK=0\nbyte WARN=1\nbyte ERROR=2\nbyte STALE=3\nbyte level\nstring name\n"
        "string message\nstring hardware_id\ndiagnostic_msgs/KeyValue[] values\n"
    ),
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
    "sensor_msgs/msg/CompressedImage": (
        "std_msgs/Header header\nstring format\nuint8[] data\n",
        _HEADER,
    ),
    "sensor_msgs/msg/CameraInfo": (
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\n"
        "float64[] d\nfloat64[9] k\nfloat64[9] r\nfloat64[12] p\nuint32 binning_x\n"
        "uint32 binning_y\nsensor_msgs/RegionOfInterest roi\n",
        (*_HEADER, "sensor_msgs/RegionOfInterest"),
    ),
    "std_msgs/msg/Float64MultiArray": (
        "std_msgs/MultiArrayLayout layout\nfloat64[] data\n",
        ("std_msgs/MultiArrayLayout", "std_msgs/MultiArrayDimension"),
    ),
    "std_msgs/msg/String": ("string data\n", ()),
    "std_msgs/msg/Bool": ("bool data\n", ()),
    "diagnostic_msgs/msg/DiagnosticArray": (
        "std_msgs/Header header\ndiagnostic_msgs/DiagnosticStatus[] status\n",
        (*_HEADER, "diagnostic_msgs/DiagnosticStatus", "diagnostic_msgs/KeyValue"),
    ),
    "trajectory_msgs/msg/JointTrajectory": (
        "std_msgs/Header header\nstring[] joint_names\n"
        "trajectory_msgs/JointTrajectoryPoint[] points\n",
        (*_HEADER, "trajectory_msgs/JointTrajectoryPoint", "builtin_interfaces/Duration"),
    ),
}


def definition(datatype: str) -> str:
    """Full text of a message type with all the types it needs."""
    body, needs = _BODIES[datatype]
    parts = [body, *(f"{_SEPARATOR}\nMSG: {name}\n{_PARTS[name]}" for name in needs)]
    return "".join(parts)


DATATYPES = tuple(_BODIES)
