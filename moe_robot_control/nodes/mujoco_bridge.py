"""The simulated bench as a ROS node: stands in for the arm's and the cameras' drivers."""

from __future__ import annotations

import json
import sys

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.control.differential_ik import joint_velocities
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes._viewer import BenchViewer
from moe_robot_control.nodes.qos import COMMAND, LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    MessageError,
    from_command,
    to_camera_info,
    to_image,
    to_named_values,
    to_plain_pose,
    to_pose,
    to_stamp,
)
from moe_robot_control.policies.spaces import (
    CONTROL_PERIOD,
    DECISION_PERIOD,
    NUM_SCENARIOS,
    OBJECTS,
    SKILLS,
)
from moe_robot_control.world.cameras import CameraRenderer
from moe_robot_control.world.envs import STEPS_PER_SKILL
from moe_robot_control.world.observers import StateObserver
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import BenchTask
from moe_robot_control.world.unsteady import Unsteadiness

_TICK = round(CONTROL_PERIOD * 1e9)
_DECISION = round(DECISION_PERIOD * 1e9)
_START = 10 * 10**9
"""Time at which episodes begin [ns]; not zero, which means 'no time yet' in ROS."""
_REPUBLISH_AFTER = 0.5
"""Lockstep: an observation nobody answers for so long is published again [s]."""
_COMMAND_TIMEOUT = 0.2
"""Real time: a command older than this no longer moves the arm [s]."""


class MujocoBridgeNode(Node):
    """Simulates episodes, publishes what sensors would, and obeys the controllers' commands.

    Every tick (10 ms) brings `joint_states` and `/clock`, every fifth the cameras' images.
    In lockstep the next tick waits for the commands that carry the last tick's stamp; in real
    time ticks follow the wall clock. At every reset time is set back, by which all other
    nodes know that a new episode has begun. `~/status` (latched JSON) tells of the episode:
    episode, state (idle, running, succeeded, failed, timed_out), scenario, skill, seed,
    time [s], stage (the next skill), stages_done and stages_total.
    """

    def __init__(self, name: str = "mujoco_bridge", **options: object) -> None:
        super().__init__(name, **options)
        self._declare()
        parameters = self.parameters
        self._arm = ArmConfig.load(parameters["arm"])
        self._sim = BenchSimulation(1, arm=self._arm)
        self._task = BenchTask(self._sim)
        self._observer = StateObserver(self._sim)
        self._kinematics = Kinematics(
            self._arm.kinematics, self._arm.joint_names, self._arm.tip_site
        )
        self._renderer = None if parameters["object_poses"] else CameraRenderer(self._sim)
        self._viewer = BenchViewer(self._sim) if parameters["viewer"] else None
        self._lockstep = parameters["lockstep"]
        self._joints = (*self._arm.joint_names, self._arm.gripper_joint)
        self._episode = 0
        self._state = "idle"
        self._stamp = _START
        self._paused = parameters["paused"]
        self._steps_wanted = 0
        self._reset_wanted = False
        self._answers: dict[str, np.ndarray] = {}
        self._published = self._steady_now()
        self._commanded = self._stamp
        self._make_interfaces()
        if parameters["autostart"]:
            self._begin()
        else:
            self._publish_status()

    def close(self) -> None:
        """Free what holds a graphics context."""
        if self._viewer is not None:
            self._viewer.close()
        if self._renderer is not None:
            self._renderer.close()

    # -- set-up ------------------------------------------------------------------------------

    def _declare(self) -> None:
        self.parameters = Parameters(self)
        declare = self.parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("scenario", 1, "How many skills are to be done.", 1, NUM_SCENARIOS)
        declare(
            "skill",
            "",
            "Do only this skill, from where it is next; empty: do the scenario.",
            choices=("", *SKILLS),
        )
        declare("seed", 0, "Seed of the next episode.", 0, 2**31 - 1)
        declare("lockstep", False, "Wait for the answer to every observation.", fixed=True)
        declare(
            "real_time_factor",
            1.0,
            "Simulated per real time, unless lockstep.",
            0.01,
            100.0,
            fixed=True,
        )
        declare("time_limit", 0.0, "Longest episode [s]; 0: 8 s a skill.", 0.0, 3600.0)
        declare("autostart", True, "Begin the first episode without a reset.", fixed=True)
        declare("paused", False, "Begin paused: advance by ~/step.", fixed=True)
        declare("viewer", False, "Open MuJoCo's viewer.", fixed=True)
        declare(
            "unsteady",
            False,
            "Noise and pushes on the arm's motion, so that demonstrations show recoveries.",
        )
        declare(
            "object_poses",
            False,
            "Publish true object poses in place of camera images and of node perception.",
            fixed=True,
        )

    def _make_interfaces(self) -> None:
        topics = self._arm.topics
        publisher = self.create_publisher
        self._clock_out = publisher(ClockMessage, "/clock", SENSOR)
        self._joints_out = publisher(JointState, topics["joint_states"], SENSOR)
        self._status_out = publisher(String, "~/status", LATCHED)
        self._truth_out = {
            name: publisher(PoseStamped, f"~/ground_truth/{name}/pose", SENSOR) for name in OBJECTS
        }
        if self._renderer is None:
            self._visible_out = publisher(JointState, "objects/visible", SENSOR)
            self._poses_out = {
                name: publisher(PoseWithCovarianceStamped, f"objects/{name}/pose", SENSOR)
                for name in OBJECTS
            }
        else:
            self._intrinsics = {
                name: self._renderer.camera_info(name) for name in self._arm.cameras
            }
            self._cameras_out = {
                name: (
                    publisher(Image, f"cameras/{name}/image_raw", SENSOR),
                    publisher(CameraInfo, f"cameras/{name}/camera_info", SENSOR),
                )
                for name in self._arm.cameras
            }
        for role, size in (("joint_velocity", len(self._arm.joint_names)), ("gripper", 1)):
            self.create_subscription(
                Float64MultiArray,
                topics[role],
                lambda message, role=role, size=size: self._on_command(role, size, message),
                COMMAND,
            )
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/step", self._on_step)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        if self._lockstep:
            self.create_timer(_REPUBLISH_AFTER / 2, self._remind, clock=self._steady)
        else:
            period = CONTROL_PERIOD / self.parameters["real_time_factor"]
            self.create_timer(period, self._on_timer, clock=self._steady)

    # -- episodes ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start an episode with the present parameters."""
        parameters = self.parameters
        skill = parameters["skill"] or None
        self._scenario = None if skill else parameters["scenario"]
        self._skill = skill
        self._seed = parameters["seed"]
        self._task.reset([self._seed], self._scenario, self._skill)
        self._observer.reset(np.arange(1), [np.random.default_rng([self._seed, 99])])
        self._first_stage = int(self._task.stage[0])
        # always lower than any stamp published before, or others could not tell
        self._stamp = (
            _START if self._stamp > _START or not self._episode else self._stamp - _DECISION
        )
        self._began = self._commanded = self._stamp
        total = int(self._task.goal[0]) - self._first_stage
        self._limit = parameters["time_limit"] or STEPS_PER_SKILL * DECISION_PERIOD * total
        self._episode += 1
        self._state = "running"
        self._reset_wanted = False
        self._unsteady = Unsteadiness(np.random.default_rng([self._seed, 7]))
        self._unsteady_velocity = np.zeros(3)
        self._command = np.zeros(len(self._arm.joint_names)), float(self._sim.gripper_width[0])
        if self._viewer is not None:
            self._viewer.new_episode()
        self._publish_status()
        self._publish_observation()

    def _advance(self) -> None:
        """One tick with the present command, and what it shows."""
        velocities, width = self._command
        if self.parameters["unsteady"] and self._state == "running":
            velocities = velocities + self._disturb()
        self._sim.tick(velocities[None], np.array([width]))
        self._stamp += _TICK
        if self._is_decision and self._state == "running":
            self._task.update()
            self._judge()
        if self._state == "running" or not self._lockstep:
            self._publish_observation()

    def _disturb(self) -> np.ndarray:
        """Joint velocities [rad/s] that move the tip as the unsteadiness has it. Shape (n,)."""
        if self._is_decision:
            self._unsteady_velocity = self._unsteady.step()
        linear = np.array([self._unsteady_velocity, np.zeros(3)])
        q = np.repeat(self._sim.joint_positions[:1], 2, axis=0)
        arm = self._arm
        moved, still = joint_velocities(self._kinematics, q, linear, arm.rotation, arm.home)
        return moved - still

    def _judge(self) -> None:
        stage = int(self._task.stage[0])
        if self._task.success[0]:
            self._state = "succeeded"
        elif self._task.failed[0]:
            self._state = "failed"
        elif self._elapsed >= self._limit - 1e-9:
            self._state = "timed_out"
        if self._state != "running" or stage != self._told_stage:
            self._publish_status()

    @property
    def _is_decision(self) -> bool:
        return (self._stamp - self._began) % _DECISION == 0

    @property
    def _elapsed(self) -> float:
        return (self._stamp - self._began) * 1e-9

    def _steady_now(self) -> float:
        return Clock(clock_type=ClockType.STEADY_TIME).now().nanoseconds * 1e-9

    # -- publishing --------------------------------------------------------------------------

    def _publish_observation(self) -> None:
        self._answers.clear()
        self._published = self._steady_now()
        stamp = self._stamp
        if self._is_decision or not self._lockstep:
            # in lockstep nobody looks at the clock in between
            self._clock_out.publish(ClockMessage(clock=to_stamp(stamp)))
        positions = [*self._sim.joint_positions[0].tolist(), float(self._sim.gripper_width[0])]
        values = dict(zip(self._joints, positions, strict=True))
        joint_states = to_named_values(stamp, values)
        # the gripper's speed is not measured
        joint_states.velocity = [*self._sim.joint_velocities[0].tolist(), 0.0]
        self._joints_out.publish(joint_states)
        if self._is_decision:
            self._publish_truth(stamp)
            if self._renderer is None:
                self._publish_objects(stamp)
            else:
                self._publish_images(stamp)
            if self._viewer is not None:
                self._viewer.update()

    def _publish_images(self, stamp: int) -> None:
        rendered = self._renderer.render_all(tuple(self._cameras_out))
        for name, (images, infos) in self._cameras_out.items():
            frame = f"{name}_optical_frame"
            camera = self._intrinsics[name]
            size, focal = (camera.width, camera.height), (camera.fx, camera.fy)
            infos.publish(to_camera_info(stamp, frame, size, focal, (camera.cx, camera.cy)))
            images.publish(to_image(stamp, frame, rendered[name]))

    def _publish_objects(self, stamp: int) -> None:
        scene = self._observer.observe()
        known = [name for name, seen in zip(OBJECTS, scene.known[0], strict=True) if seen]
        frame = self._arm.base_frame
        self._visible_out.publish(to_named_values(stamp, dict.fromkeys(known, 1.0), frame))
        for name in known:
            position = scene.positions[0, OBJECTS.index(name)]
            self._poses_out[name].publish(to_pose(stamp, frame, position, np.zeros((3, 3))))

    def _publish_truth(self, stamp: int) -> None:
        if not any(out.get_subscription_count() for out in self._truth_out.values()):
            return
        positions = self._sim.object_positions()[0]
        for name, position in zip(OBJECTS, positions, strict=True):
            pose = to_plain_pose(stamp, self._arm.base_frame, position)
            self._truth_out[name].publish(pose)

    def _publish_status(self) -> None:
        status: dict[str, object] = {"episode": self._episode, "state": self._state}
        if self._episode:
            stage = self._told_stage = int(self._task.stage[0])
            status |= {
                "scenario": self._scenario,
                "skill": self._skill,
                "seed": self._seed,
                "time": round(self._elapsed, 3),
                "stage": SKILLS[stage] if stage < int(self._task.goal[0]) else None,
                "stages_done": stage - self._first_stage,
                "stages_total": int(self._task.goal[0]) - self._first_stage,
            }
        self._status_out.publish(String(data=json.dumps(status)))
        if self._state not in ("idle", "running"):
            what = self._skill or f"scenario {self._scenario}"
            self.get_logger().info(
                f"episode {self._episode} ({what}, seed {self._seed}): {self._state} "
                f"after {self._elapsed:.2f} s"
            )

    # -- being driven ------------------------------------------------------------------------

    def _on_command(self, role: str, size: int, message: Float64MultiArray) -> None:
        try:
            stamp, values = from_command(message, size)
        except MessageError as error:
            topic = self._arm.topics[role]
            self.get_logger().error(f"{topic}: {error}; ignored", throttle_duration_sec=2.0)
            return
        if self._lockstep:
            if stamp is None:
                self.get_logger().warning(
                    f"{self._arm.topics[role]}: command without the stamp that it answers ignored "
                    "in lockstep",
                    throttle_duration_sec=2.0,
                )
            if stamp != self._stamp or self._state != "running":
                return
        self._answers[role] = values
        if len(self._answers) == 2:
            self._command = self._answers["joint_velocity"], float(self._answers["gripper"][0])
            self._commanded = self._stamp
            if self._lockstep:
                self._on_answer()

    def _on_answer(self) -> None:
        if self._reset_wanted:
            self._begin()
        elif not self._paused:
            self._advance()
        elif self._steps_wanted:
            self._steps_wanted -= 1
            self._advance()

    def _on_timer(self) -> None:
        if self._state == "idle":
            return
        if self._paused and not self._steps_wanted:
            return
        self._steps_wanted = max(self._steps_wanted - 1, 0)
        if self._stamp - self._commanded > _COMMAND_TIMEOUT * 1e9:
            # like a driver's watchdog
            self._command = np.zeros_like(self._command[0]), self._command[1]
        self._advance()

    def _remind(self) -> None:
        """Lockstep: nobody answered, so somebody may have missed something."""
        if self._state != "running" or self._steady_now() - self._published < _REPUBLISH_AFTER:
            return
        if self._reset_wanted:
            self._begin()
        elif len(self._answers) < 2:
            self._publish_observation()

    # -- services ----------------------------------------------------------------------------

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        # in lockstep first comes the answer that is under way, so that it cannot be mistaken
        # for an answer to the new episode
        if self._lockstep and self._state == "running" and len(self._answers) < 2:
            self._reset_wanted = True
        else:
            self._begin()
        episode = self._episode + self._reset_wanted
        response.success, response.message = True, f"episode {episode}"
        return response

    def _on_step(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._paused:
            response.success, response.message = False, "not paused"
            return response
        self._steps_wanted += 1
        if self._lockstep and len(self._answers) == 2:
            self._on_answer()
        response.success = True
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        if self._lockstep and not self._paused and len(self._answers) == 2:
            self._on_answer()
        response.success = True
        response.message = "paused" if self._paused else "running"
        return response


def main() -> int:
    """Console entry."""
    return run_nodes([MujocoBridgeNode], "mujoco_bridge")


if __name__ == "__main__":
    sys.exit(main())
