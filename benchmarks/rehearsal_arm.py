"""A node that behaves like an arm under ros2_control and its cameras' drivers.

    python benchmarks/rehearsal_arm.py --ros-args -p lag:=0.04 -p loss:=0.05

It knows nothing of the simulation's bridge: messages carry the wall clock's time, encoders are
noisy, drives lag, packets are late or lost, and without commands the arm brakes by itself.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields, replace

import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import check_parameter_files, complain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.priority import go_first
from moe_robot_control.nodes.qos import LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    to_camera_info,
    to_image,
    to_named_values,
    to_pose,
)
from moe_robot_control.policies.spaces import (
    CONTROL_PERIOD,
    DECISION_PERIOD,
    NUM_SCENARIOS,
    OBJECTS,
    SKILLS,
)
from moe_robot_control.world.envs import STEPS_PER_SKILL
from moe_robot_control.world.observers import StateObserver
from moe_robot_control.world.scene import ALL_PARTS
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import BenchTask
from safety.hardware import Hardware, Imperfections
from safety.photographer import Photographer

NAME = "rehearsal_arm"
PRIORITY = 50
"""Real-time priority, where allowed."""
_FRAME = round(DECISION_PERIOD / CONTROL_PERIOD)
"""Ticks from one image to the next."""
_ALL = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
"""Of commands: the drives obey the newest, but every one is judged."""
_REPORT = round(0.1 / CONTROL_PERIOD)
"""Ticks from one `~/limits` to the next."""


class RehearsalArmNode(Node):
    """Drives a `Hardware` by the wall clock.

    Every 10 ms it moves the arm up to the present and publishes `joint_states`, however late it is;
    every `frame_ticks`-th time the cameras take images, or where parameter `cameras` is false, it
    says where the objects are, as perception would. `~/limits` (latched JSON, ten times a second)
    tells of the arm: extremes and violations since `~/clear`, commands obeyed, lost and sent,
    whether it brakes, how late the node was at most [s] and for how long the physics was skipped
    [s]. For measurements `~/reset` puts everything in place for an episode, and `~/status` (latched
    JSON) says how it goes, both as with the simulation's bridge.
    """

    def __init__(self, name: str = NAME, **options: object) -> None:
        super().__init__(name, **options)
        go_first(PRIORITY)  # a real arm has a computer of its own; who draws images goes behind
        self._declare()
        parameters = self.parameters
        self._arm = ArmConfig.load(parameters["arm"])
        if self._arm.output != "joint_velocity":
            raise MoeRobotControlError(f"arm {self._arm.name!r} does not take joint velocities")
        parts = ALL_PARTS if parameters["furniture"] else ()
        self._sim = BenchSimulation(1, parts, arm=self._arm)
        self._task = BenchTask(self._sim)
        self._observer = StateObserver(self._sim)
        self._hardware = Hardware(self._sim, self._imperfections(), parameters["chance"])
        self._joints = (*self._arm.joint_names, self._arm.gripper_joint)
        self._episode = self._ticks = 0
        self._latest = 0.0
        self._told_violations: set[str] = set()
        self._make_interfaces()
        self._photographer = (
            Photographer(self._arm, self._publish_images) if parameters["cameras"] else None
        )
        self._begin()

    def close(self) -> None:
        """Free what holds a graphics context."""
        if self._photographer is not None:
            self._photographer.close()

    def _declare(self) -> None:
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("furniture", True, "The whole bench; false: the arm and its table.", fixed=True)
        declare("cameras", True, "Images; false: true object poses.", fixed=True)
        declare("frame_ticks", _FRAME, "Control ticks from one image to the next.", 1, 100)
        declare("scenario", 1, "How many skills are to be done.", 1, NUM_SCENARIOS)
        declare("skill", "", "Do only this skill; empty: the scenario.", choices=("", *SKILLS))
        declare("seed", 0, "Seed of the next episode.", 0, 2**31 - 1)
        declare("time_limit", 0.0, "Longest episode [s]; 0: 8 s a skill.", 0.0, 3600.0)
        declare("chance", 0, "Seed of noise, losses and delays.", 0, 2**31 - 1, fixed=True)
        default = Imperfections()
        for key, text, high in (
            ("lag", "Time constant of the drives [s].", 1.0),
            ("latency", "Delay of every command [s].", 1.0),
            ("jitter", "Largest further delay of a command [s].", 1.0),
            ("loss", "Share of packets lost, each way.", 1.0),
            ("timeout", "Without a command for so long the arm brakes [s].", 10.0),
            ("encoder_noise", "Of a joint position [rad].", 0.1),
            ("velocity_noise", "Of a joint velocity [rad/s].", 1.0),
            ("width_noise", "Of the gripper's opening [m].", 0.01),
        ):
            declare(key, getattr(default, key), text, 0.0, high)
        self.add_post_set_parameters_callback(self._on_parameters)

    def _imperfections(self) -> Imperfections:
        return Imperfections(**{f.name: self.parameters[f.name] for f in fields(Imperfections)})

    def _on_parameters(self, parameters: list[Parameter]) -> None:
        known = {field.name for field in fields(Imperfections)}
        changes = {p.name: p.value for p in parameters if p.name in known}
        self._hardware.imperfections = replace(self._hardware.imperfections, **changes)

    def _make_interfaces(self) -> None:
        topics, publisher = self._arm.topics, self.create_publisher
        self._joints_out = publisher(JointState, topics["joint_states"], SENSOR)
        self._status_out = publisher(String, "~/status", LATCHED)
        self._limits_out = publisher(String, "~/limits", LATCHED)
        if self.parameters["cameras"]:
            self._cameras_out = {
                name: (
                    publisher(Image, f"cameras/{name}/image_raw", SENSOR),
                    publisher(CameraInfo, f"cameras/{name}/camera_info", SENSOR),
                )
                for name in self._arm.cameras
            }
        else:
            self._visible_out = publisher(JointState, "objects/visible", SENSOR)
            self._poses_out = {
                name: publisher(PoseWithCovarianceStamped, f"objects/{name}/pose", SENSOR)
                for name in OBJECTS
            }
        subscribe = self.create_subscription
        subscribe(Float64MultiArray, topics["joint_velocity"], self._on_velocities, _ALL)
        subscribe(Float64MultiArray, topics["gripper"], self._on_gripper, _ALL)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/clear", self._on_clear)

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> None:
        """Spin until shutdown: what has come is looked at before the arm moves on."""
        executor = LeanExecutor(context=self.context)
        executor.add_node(self)
        due = time.monotonic()
        self._hardware.restart(due)
        while self.context.ok():
            executor.spin_some(max(due - time.monotonic(), 0.0))
            now = time.monotonic()
            if now >= due:
                self._latest = max(self._latest, now - due)
                self._tick(now)
                # a loop that is late leaves out what it has missed
                due += CONTROL_PERIOD * (int((now - due) / CONTROL_PERIOD) + 1)

    def _tick(self, now: float) -> None:
        self._hardware.advance(now)
        self._ticks += 1
        self._tell_violations()
        stamp = self.get_clock().now().nanoseconds
        if not self._hardware.loses():
            positions, velocities = self._hardware.measure()
            message = to_named_values(stamp, dict(zip(self._joints, positions, strict=True)))
            # the gripper's speed is not measured
            message.velocity = [*velocities.tolist(), 0.0]
            self._joints_out.publish(message)
        if self._ticks % self.parameters["frame_ticks"] == 0:
            if self._state == "running" and self.parameters["furniture"]:
                self._task.update()
                self._judge()
            if self._photographer is not None:
                self._photographer.take(stamp, self._sim.save(0))
            else:
                self._publish_objects(stamp)
        if self._ticks % _REPORT == 0:
            self._publish_limits()

    def _tell_violations(self) -> None:
        for limit in set(self._hardware.judge.violations) - self._told_violations:
            tip, q = self._sim.end_effector[0], self._sim.joint_positions[0]
            self.get_logger().error(
                f"limit broken: {limit}; tip {np.round(tip, 4).tolist()}, "
                f"joints {np.round(q, 4).tolist()}"
            )
        self._told_violations = set(self._hardware.judge.violations)

    # -- episodes ----------------------------------------------------------------------------

    def _begin(self) -> None:
        parameters = self.parameters
        self._skill = parameters["skill"] or None
        self._scenario = None if self._skill else parameters["scenario"]
        self._seed = parameters["seed"]
        self._task.reset([self._seed], self._scenario, self._skill)
        self._observer.reset(np.arange(1), [np.random.default_rng([self._seed, 99])])
        self._first_stage = int(self._task.stage[0])
        total = int(self._task.goal[0]) - self._first_stage
        self._limit = parameters["time_limit"] or STEPS_PER_SKILL * DECISION_PERIOD * total
        self._hardware.restart(time.monotonic())
        self._hardware.judge.new_scene()
        self._episode += 1
        self._state = "running"
        self._publish_status()

    def _judge(self) -> None:
        if self._task.success[0]:
            self._state = "succeeded"
        elif self._task.failed[0]:
            self._state = "failed"
        elif self._elapsed >= self._limit:
            self._state = "timed_out"
        if self._state != "running" or int(self._task.stage[0]) != self._told_stage:
            self._publish_status()

    @property
    def _elapsed(self) -> float:
        return float(self._sim.time[0])

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin()
        response.success, response.message = True, f"episode {self._episode}"
        return response

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._hardware.judge.clear()
        self._latest = 0.0
        self._publish_limits()
        response.success = True
        return response

    # -- commands ----------------------------------------------------------------------------

    def _on_velocities(self, message: Float64MultiArray, info: dict[str, int]) -> None:
        self._hardware.command_velocities(_sent(info), np.array(message.data))

    def _on_gripper(self, message: Float64MultiArray, info: dict[str, int]) -> None:
        self._hardware.command_gripper(_sent(info), np.array(message.data))

    # -- publishing --------------------------------------------------------------------------

    def _publish_images(self, stamp: int, images: dict[str, np.ndarray]) -> None:
        for name, (image_out, info_out) in self._cameras_out.items():
            if self._hardware.loses():
                continue
            frame, camera = f"{name}_optical_frame", self._photographer.intrinsics[name]
            size, focal = (camera.width, camera.height), (camera.fx, camera.fy)
            info_out.publish(to_camera_info(stamp, frame, size, focal, (camera.cx, camera.cy)))
            image_out.publish(to_image(stamp, frame, images[name]))

    def _publish_objects(self, stamp: int) -> None:
        scene, frame = self._observer.observe(), self._arm.base_frame
        known = [name for name, seen in zip(OBJECTS, scene.known[0], strict=True) if seen]
        if not self._hardware.loses():
            visible = to_named_values(stamp, dict.fromkeys(known, 1.0), frame)
            self._visible_out.publish(visible)
        for name in known:
            if not self._hardware.loses():
                position = scene.positions[0, OBJECTS.index(name)]
                self._poses_out[name].publish(to_pose(stamp, frame, position, np.zeros((3, 3))))

    def _publish_status(self) -> None:
        stage = self._told_stage = int(self._task.stage[0])
        status = {
            "episode": self._episode,
            "state": self._state,
            "scenario": self._scenario,
            "skill": self._skill,
            "seed": self._seed,
            "time": round(self._elapsed, 3),
            "stage": SKILLS[stage] if stage < int(self._task.goal[0]) else None,
            "stages_done": stage - self._first_stage,
            "stages_total": int(self._task.goal[0]) - self._first_stage,
        }
        self._status_out.publish(String(data=json.dumps(status)))

    def _publish_limits(self) -> None:
        hardware = self._hardware
        lost, sent = hardware.lost
        report = hardware.judge.report() | {
            "commands": hardware.judge.commands,
            "lost": lost,
            "sent": sent,
            "braking": hardware.braking,
            "latest": self._latest,
            "skipped": hardware.skipped,
        }
        self._limits_out.publish(String(data=json.dumps(report)))


def _sent(info: dict[str, int]) -> float:
    """When a message was sent, by the steady clock [s]."""
    ago = (time.time_ns() - info["source_timestamp"]) * 1e-9
    return time.monotonic() - min(max(ago, 0.0), 1.0)


def main() -> int:
    """Run the node until a signal; bad parameters end it with one line and status 2."""
    node = None
    try:
        check_parameter_files(sys.argv)
        rclpy.init(args=sys.argv)
        node = RehearsalArmNode()
        node.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (MoeRobotControlError, ParameterException) as error:
        return complain(NAME, error)
    except RuntimeError:
        # rclpy's: after a signal they only tell that the context is gone
        if rclpy.ok() or node is None:
            raise
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
