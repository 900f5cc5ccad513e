"""The console's robot: a running graph."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import TwistStamped
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from moe_robot_control.console.robot import Frame, RobotError, Wish
from moe_robot_control.control.arbitration import MODES
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.nodes._watch import FRESH, GraphWatch
from moe_robot_control.nodes.qos import COMMAND
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_image,
    to_named_values,
    to_twist,
)
from moe_robot_control.nodes.service_calls import parameters_request
from moe_robot_control.policies.spaces import MAX_SPEED, NUM_SCENARIOS, SKILLS

PATIENCE = 2.0
"""Longest wait for a service's answer [s]."""
_STOP_AGAIN = 0.05
"""Between emergency stops until one is confirmed [s]."""
JPEG_QUALITY = 85
_ARROW = 0.08
"""Length of the arrows along the base frame's axes [m]."""
_STATE_AGE = 0.02
"""Viewers that ask within this time get the same state [s]."""
_RECORDER_SERVICES = {
    "start": "start",
    "stop": "stop",
    "discard": "discard",
    "success": "mark_success",
    "failure": "mark_failure",
}
_PARAMETER_NODES = ("mujoco_bridge", "manipulation_network", "demo_recorder")


class GraphRobot:
    """Implements `console.robot.Robot` over a node's topics and services.

    Its methods are called in the server's thread; the node is spun in another.
    """

    experts = SKILLS
    max_speed = MAX_SPEED

    def __init__(self, node: Node, arm: ArmConfig, recordings: Path) -> None:
        """Subscribe, and prepare to command.

        Args:
            node: to communicate by.
            arm: which one.
            recordings: folder of episodes, until a recorder tells its own.
        """
        self._node = node
        self._arm = arm
        self._recordings = recordings
        self._watch = GraphWatch(node, arm)
        self._watch.on_image = self._wake
        self.cameras = tuple(arm.cameras)
        self.max_opening = arm.max_gripper_width
        self._kinematics = Kinematics(arm.kinematics, arm.joint_names, arm.tip_site)
        self._twists = node.create_publisher(TwistStamped, "teleop/twist", COMMAND)
        self._grippers = node.create_publisher(JointState, "teleop/gripper", COMMAND)
        self._weights = node.create_publisher(JointState, "teleop/weights", COMMAND)
        self._stops = node.create_publisher(Bool, arm.topics["emergency_stop"], COMMAND)
        names = ["velocity_commander/emergency_stop", "velocity_commander/release"]
        names += [f"velocity_commander/set_mode/{mode}" for mode in MODES]
        names += [f"demo_recorder/{name}" for name in _RECORDER_SERVICES.values()]
        names += ["mujoco_bridge/reset"]
        self._triggers = {name: node.create_client(Trigger, name) for name in names}
        self._setters = {
            name: node.create_client(SetParameters, f"{name}/set_parameters")
            for name in _PARAMETER_NODES
        }
        self._moves = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self._frames: dict[str, Frame] = {}
        self._state: tuple[float, dict[str, Any]] = (-1.0, {})

    # -- watching ----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        now = time.monotonic()
        if now - self._state[0] > _STATE_AGE:
            self._state = now, self._present_state()
        return self._state[1]

    def _present_state(self) -> dict[str, Any]:
        watch = self._watch
        bench, recorder = self._is_there("mujoco_bridge"), self._is_there("demo_recorder")
        gate_is_fresh = watch.rates["gate/weights"].age < FRESH
        return {
            "robot": {
                "name": self._arm.name,
                "simulated": bench,
                "cameras": self.cameras,
                "experts": self.experts,
                "scenarios": NUM_SCENARIOS,
                "max_speed": self.max_speed,
                "max_opening": self.max_opening,
            },
            "command": self._command(),
            "episode": watch.episode if bench else None,
            "weights": watch.weights if gate_is_fresh else {},
            "arm": self._present_arm(),
            "latency": watch.latency,
            "rates": {name: rate.per_second for name, rate in watch.rates.items()},
            "diagnostics": watch.diagnostics,
            "recorder": watch.recorder if recorder else None,
        }

    def _is_there(self, node: str) -> bool:
        return self._setters[node].service_is_ready()

    def _command(self) -> dict[str, Any]:
        """Mode, and what the arm does and why."""
        told = self._watch.commander
        if not told:
            level, message = "error", "no news of the velocity commander"
        else:
            mine = [d for d in self._watch.diagnostics if d["name"] == told["name"]]
            level, message = mine[0]["level"], mine[0]["message"]
        return {
            "mode": told.get("mode"),
            "source": told.get("source", ""),
            "message": message,
            "level": level,
            "stopped": "emergency stop" in told.get("message", ""),
        }

    def _present_arm(self) -> dict[str, Any]:
        arm, joints, velocities = self._arm, self._watch.joints, self._watch.velocities
        known = [name for name in arm.joint_names if name in joints]
        limits = dict(
            zip(arm.joint_names, zip(arm.joint_lower, arm.joint_upper, strict=True), strict=True)
        )
        gripper = joints.get(arm.gripper_joint)
        opening = None if gripper is None else float(arm.gripper_opening(gripper))
        tip = self._tip()
        speed = None
        if tip is not None and all(name in velocities for name in arm.joint_names):
            jacobian = self._kinematics.jacobian(self._configuration())
            rates = np.array([velocities[name] for name in arm.joint_names])
            speed = float(np.linalg.norm(jacobian[:3] @ rates))
        return {
            "joints": [
                {
                    "name": name,
                    "position": joints[name],
                    "lower": float(limits[name][0]),
                    "upper": float(limits[name][1]),
                }
                for name in known
                if np.isfinite(joints[name])
            ],
            "tip": None if tip is None else [float(value) for value in tip],
            "opening": opening if opening is None or np.isfinite(opening) else None,
            "speed": speed if speed is None or np.isfinite(speed) else None,
        }

    def _configuration(self) -> np.ndarray:
        return np.array([self._watch.joints.get(name, np.nan) for name in self._arm.joint_names])

    def _tip(self) -> np.ndarray | None:
        """The point between the fingertips, base frame [m]; None while it is not known."""
        configuration = self._configuration()
        if not np.isfinite(configuration).all():
            return None
        return self._kinematics.forward(configuration)[0]

    def recordings(self) -> Path:
        told = (self._watch.recorder or {}).get("directory")
        return Path(told) if told else self._recordings

    # -- images ------------------------------------------------------------------------------

    async def frame(self, camera: str, after: int) -> Frame:
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                number, data = self._watch.images.get(camera, (-1, b""))
                # numbers begin anew with the console: a page may have seen higher ones
                if number >= 0 and number != after:
                    return self._to_frame(camera, number, data)
                await event.wait()
        finally:
            self._waiting.discard(event)

    def _wake(self) -> None:
        """Called in the node's thread: there is a new image."""
        if self._loop is not None and self._waiting:
            try:
                self._loop.call_soon_threadsafe(self._set_events)
            except RuntimeError:
                pass  # the server ends

    def _set_events(self) -> None:
        for event in self._waiting:
            event.set()

    def _to_frame(self, camera: str, number: int, data: bytes) -> Frame:
        known = self._frames.get(camera)
        if known is None or known.number != number:
            known = self._frames[camera] = self._compress(camera, number, data)
        return known

    def _compress(self, camera: str, number: int, data: bytes) -> Frame:
        message = deserialize_message(data, Image)
        try:
            image = from_image(message, message.width, message.height)
        except MessageError:
            image = np.zeros((240, 320, 3), np.uint8)
        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[..., ::-1])
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        marks: dict[str, tuple[float, float]] = {}
        axes: dict[str, tuple[float, float]] = {}
        tip_pixel = None
        calibrated, tip = self._watch.cameras.get(camera), self._tip()
        if calibrated is not None:

            def pixel(point: np.ndarray) -> tuple[float, float] | None:
                u, v = (float(value) for value in calibrated.project(point))
                inside = -width < u < 2 * width and -height < v < 2 * height
                return (round(u, 1), round(v, 1)) if inside else None

            found = {name: pixel(position) for name, position in self._watch.seen.items()}
            marks = {name: at for name, at in found.items() if at is not None}
            if tip is not None:
                tip_pixel = pixel(tip)
                ends = {a: pixel(tip + _ARROW * e) for a, e in zip("xyz", np.eye(3), strict=True)}
                axes = {axis: at for axis, at in ends.items() if at is not None}
        return Frame(camera, number, jpeg, width, height, marks, tip_pixel, axes)

    # -- steering ----------------------------------------------------------------------------

    def drive(self, wish: Wish) -> None:
        stamp = self._node.get_clock().now().nanoseconds
        if wish.velocity is None:
            self.let_go()
            self._weights.publish(to_named_values(stamp, wish.weights))
            return
        if wish.gripper is not None:
            self._grippers.publish(to_named_values(stamp, {self._arm.gripper_joint: wish.gripper}))
        self._twists.publish(to_twist(stamp, self._arm.base_frame, np.array(wish.velocity)))
        self._moves = True

    def let_go(self) -> None:
        # a last twist of zero stops the arm at once; then nothing comes
        if self._moves:
            stamp = self._node.get_clock().now().nanoseconds
            self._twists.publish(to_twist(stamp, self._arm.base_frame, np.zeros(3)))
        self._moves = False

    # -- commands ----------------------------------------------------------------------------

    async def emergency_stop(self) -> str:
        # the topic needs no answer and comes first, the service confirms; both again and again,
        # as nothing reaches a commander that is not discovered yet
        deadline = time.monotonic() + PATIENCE
        while True:
            confirmation = asyncio.ensure_future(self._trigger("velocity_commander/emergency_stop"))
            while not confirmation.done():
                self._stops.publish(Bool(data=True))
                await asyncio.wait({confirmation}, timeout=_STOP_AGAIN)
            if (error := confirmation.exception()) is None:
                return confirmation.result()
            if time.monotonic() > deadline:
                raise RobotError(f"emergency stop sent, but not confirmed: {error}")
            await asyncio.sleep(_STOP_AGAIN)

    async def release(self) -> str:
        return await self._trigger("velocity_commander/release")

    async def set_mode(self, mode: str) -> str:
        return await self._trigger(f"velocity_commander/set_mode/{mode}")

    async def start_episode(
        self, scenario: int | None, skill: str | None, seed: int, operator: str
    ) -> str:
        if not self._is_there("mujoco_bridge"):
            return await self.set_mode("policy")
        has_gate = self._is_there("manipulation_network")
        if self._watch.commander.get("mode") == "idle":
            await self.set_mode("policy" if has_gate else "teleop")
        bench: dict[str, Any] = {"seed": seed}
        if skill or scenario:
            bench |= {"skill": skill or ""} | ({"scenario": scenario} if scenario else {})
            if has_gate:
                await self._set("manipulation_network", {"fixed_expert": skill or ""})
        await self._set("mujoco_bridge", bench)
        if self._is_there("demo_recorder"):
            await self._set("demo_recorder", {"operator": operator})
        return await self._trigger("mujoco_bridge/reset")

    async def record(self, action: str, details: Mapping[str, str]) -> str:
        if action == "start":
            bench = self._watch.episode if self._is_there("mujoco_bridge") else None
            bench = bench or {}
            skill = details.get("skill") or bench.get("skill") or ""
            values = {
                "operator": details.get("operator", ""),
                "skill": skill,
                "scenario": 0 if skill else bench.get("scenario") or 0,
                "seed": bench.get("seed", -1),
            }
            await self._set("demo_recorder", values)
        return await self._trigger(f"demo_recorder/{_RECORDER_SERVICES[action]}")

    async def _set(self, node: str, values: Mapping[str, Any]) -> None:
        answer = await self._call(self._setters[node], parameters_request(values))
        for result in answer.results:
            if not result.successful:
                raise RobotError(f"{node}: {result.reason}")

    async def _trigger(self, service: str) -> str:
        answer = await self._call(self._triggers[service], Trigger.Request())
        if not answer.success:
            raise RobotError(answer.message or f"{service} refused")
        return answer.message

    async def _call(self, client: Client, request: Any) -> Any:
        if not client.service_is_ready():
            raise RobotError(f"{client.srv_name} is not there")
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def on_answer(_: Future) -> None:
            loop.call_soon_threadsafe(answered.set)

        call = client.call_async(request)
        call.add_done_callback(on_answer)
        try:
            await asyncio.wait_for(answered.wait(), PATIENCE)
        except TimeoutError:
            client.remove_pending_request(call)
            raise RobotError(f"{client.srv_name} does not answer") from None
        return call.result()
