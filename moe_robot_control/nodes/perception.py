"""Camera images to object poses in the arm's base frame."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._lifecycle import ManagedNode
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.frames import FrameCollector
from moe_robot_control.nodes.qos import EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_image,
    from_stamp,
    to_image,
    to_named_values,
    to_pose,
    to_stamp,
)
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.perception.estimator import ObjectEstimate, PoseEstimator
from moe_robot_control.perception.overlay import draw_positions
from moe_robot_control.perception.tracker import Tracker
from moe_robot_control.policies.spaces import OBJECTS
from moe_robot_control.share import share_path


class PerceptionNode(ManagedNode):
    """Publishes a pose for every object seen in the cameras' images of one stamp.

    `objects/visible` lists the objects seen at that stamp with their confidence, so that
    consumers know when they have all of its poses. Intrinsics come from `camera_info`, read
    once and again after `~/recalibrate`; extrinsics from the arm's configuration.
    """

    def __init__(self, name: str = "perception", **options: object) -> None:
        super().__init__(name, **options)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare(
            "model",
            "",
            "ONNX file of the pose network; empty: models/perception/keypoints.onnx.",
            fixed=True,
        )
        declare(
            "cameras",
            [""],
            "Names of the cameras to wait for; one empty name: all of the arm's configuration.",
            fixed=True,
        )
        declare(
            "slop",
            0.0,
            "Largest difference between the cameras' stamps [s].",
            0.0,
            0.5,
            fixed=True,
        )
        declare("debug_image", False, "Publish ~/debug_image when somebody listens.")
        self.create_service(Trigger, "~/recalibrate", self._on_recalibrate)

    def set_up(self) -> None:
        self._arm = ArmConfig.load(self.parameters["arm"])
        self._cameras = self._camera_names()
        self._model = Path(
            self.parameters["model"] or share_path("models/perception/keypoints.onnx")
        )
        self._frames = FrameCollector(self._cameras, self.parameters["slop"])
        self._intrinsics: dict[str, CameraIntrinsics] = {}
        self._info_subscriptions: dict[str, object] = {}
        # fails now rather than at the first image
        self._estimator: PoseEstimator | None = None
        PoseEstimator(self._model, {})
        self._forget()
        publisher = self.create_publisher
        self._poses = {
            name: publisher(PoseWithCovarianceStamped, f"objects/{name}/pose", SENSOR)
            for name in OBJECTS
        }
        self._visible = publisher(JointState, "objects/visible", SENSOR)
        self._markers = publisher(MarkerArray, "objects/markers", EVENTS)
        self._debug = publisher(Image, "~/debug_image", SENSOR)
        for name in self._cameras:
            topic = f"cameras/{name}/image_raw"
            self.create_subscription(Image, topic, partial(self._on_image, name), SENSOR)
        self._await_camera_info()

    def _camera_names(self) -> tuple[str, ...]:
        names = tuple(name for name in self.parameters["cameras"] if name)
        for name in names:
            if name not in self._arm.cameras:
                raise MoeRobotControlError(
                    f"parameter 'cameras': {name!r} is not a camera of arm {self._arm.name!r}: "
                    f"expected {', '.join(self._arm.cameras)}"
                )
        return names or tuple(self._arm.cameras)

    def _forget(self) -> None:
        self._tracker = Tracker()
        self._first: int | None = None
        self._last: tuple[int, list[ObjectEstimate]] | None = None

    def _await_camera_info(self) -> None:
        for name in self._cameras:
            if name not in self._info_subscriptions:
                self._info_subscriptions[name] = self.create_subscription(
                    CameraInfo,
                    f"cameras/{name}/camera_info",
                    partial(self._on_camera_info, name),
                    SENSOR,
                )

    def _on_camera_info(self, camera: str, message: CameraInfo) -> None:
        fx, fy, cx, cy = message.k[0], message.k[4], message.k[2], message.k[5]
        if not (fx > 0 and fy > 0 and message.width and message.height):
            self._complain(f"cameras/{camera}/camera_info: not a calibration")
            return
        self._intrinsics[camera] = CameraIntrinsics(
            fx=fx, fy=fy, cx=cx, cy=cy, width=message.width, height=message.height
        )
        # it repeats with every image, but is only needed once
        self.destroy_subscription(self._info_subscriptions.pop(camera))
        if len(self._intrinsics) == len(self._cameras):
            self._estimator = PoseEstimator(
                self._model, {name: self._calibration(name) for name in self._cameras}
            )

    def _calibration(self, camera: str) -> Camera:
        mount = self._arm.cameras[camera]
        extrinsics = CameraExtrinsics.from_quaternion(mount.position, mount.orientation)
        return Camera(self._intrinsics[camera], extrinsics)

    def _on_recalibrate(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not hasattr(self, "_frames"):
            response.success, response.message = False, "not configured"
            return response
        try:
            self._arm = ArmConfig.load(self.parameters["arm"])
        except MoeRobotControlError as error:
            response.success, response.message = False, str(error)
            return response
        self._intrinsics.clear()
        self._estimator = None
        self._await_camera_info()
        response.success, response.message = True, "waiting for camera_info"
        return response

    def _on_image(self, camera: str, message: Image) -> None:
        if not self.is_active or self._estimator is None:
            return
        expected = self._intrinsics[camera]
        try:
            image = from_image(message, expected.width, expected.height)
        except MessageError as error:
            self._complain(f"cameras/{camera}/image_raw: {error}; image ignored")
            return
        frame = self._frames.add(camera, from_stamp(message.header.stamp), image)
        if frame is not None:
            self._process(*frame)

    def _process(self, stamp: int, images: dict[str, np.ndarray]) -> None:
        if self._last is not None and stamp < self._last[0]:
            self._forget()
        if self._last is None or stamp != self._last[0]:
            if self._first is None:
                self._first = stamp
            try:
                estimates = self._estimator.estimate(images)
            except MoeRobotControlError as error:
                self._complain(str(error))
                return
            # since the first image: exact whatever the clock's origin
            tracked = self._tracker.update((stamp - self._first) * 1e-9, estimates)
            self._last = stamp, tracked
        self._publish(*self._last)
        if self.parameters["debug_image"] and self._debug.get_subscription_count():
            self._publish_debug(stamp, images)

    def _publish(self, stamp: int, estimates: Sequence[ObjectEstimate]) -> None:
        frame = self._arm.base_frame
        confidences = {estimate.name: float(estimate.confidence) for estimate in estimates}
        self._visible.publish(to_named_values(stamp, confidences, frame))
        for estimate in estimates:
            pose = to_pose(stamp, frame, estimate.position, estimate.covariance)
            self._poses[estimate.name].publish(pose)
        if self._markers.get_subscription_count():
            self._markers.publish(self._marker_array(stamp, estimates))

    def _marker_array(self, stamp: int, estimates: Sequence[ObjectEstimate]) -> MarkerArray:
        array = MarkerArray(markers=[Marker(ns="objects", action=Marker.DELETEALL)])
        for estimate in estimates:
            index = OBJECTS.index(estimate.name)
            sphere = Marker(ns="objects", id=2 * index, type=Marker.SPHERE)
            deviations = np.sqrt(np.maximum(np.diag(estimate.covariance), 0.0))
            # two standard deviations, but never too small to see
            scale = np.maximum(4.0 * deviations, 0.01)
            sphere.scale.x, sphere.scale.y, sphere.scale.z = (float(v) for v in scale)
            text = Marker(ns="objects", id=2 * index + 1, type=Marker.TEXT_VIEW_FACING)
            text.text, text.scale.z = estimate.name, 0.02
            for marker, lift in ((sphere, 0.0), (text, 0.03)):
                position = marker.pose.position
                position.x, position.y, position.z = (float(v) for v in estimate.position)
                position.z += lift
                marker.color.r, marker.color.g, marker.color.b, marker.color.a = 0.1, 0.8, 0.3, 0.8
                marker.header.stamp = to_stamp(stamp)
                marker.header.frame_id = self._arm.base_frame
                array.markers.append(marker)
        array.markers[0].header.frame_id = self._arm.base_frame
        return array

    def _publish_debug(self, stamp: int, images: dict[str, np.ndarray]) -> None:
        seen = {estimate.name: estimate.position for estimate in self._last[1]}
        shown = [
            draw_positions(image, self._calibration(name), seen) for name, image in images.items()
        ]
        frame = f"{self._cameras[0]}_optical_frame"
        self._debug.publish(to_image(stamp, frame, np.hstack(shown)))

    def _complain(self, text: str) -> None:
        self.get_logger().error(text, throttle_duration_sec=2.0)


def main() -> int:
    """Console entry."""
    return run_nodes([PerceptionNode], "perception")


if __name__ == "__main__":
    sys.exit(main())
