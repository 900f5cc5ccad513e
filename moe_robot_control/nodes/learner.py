"""Improves one expert through the running graph: explores, learns, swaps, evaluates, rolls back."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.demonstrations.episode import load_episodes
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.learning.awac_config import load_fine_tuning_config
from moe_robot_control.learning.fine_tuning import (
    EVALUATION_SEED,
    FineTuner,
    exploration_seed,
    use_one_core,
)
from moe_robot_control.learning.supervision import IDLE, RUNNING, WAITING, OperatedEpisode
from moe_robot_control.learning.transitions import Collector, TransitionLog, transitions_of
from moe_robot_control.nodes._runner import check_parameter_files, complain
from moe_robot_control.nodes._scene import SceneNode
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.ros_messages import from_stamp, from_twist
from moe_robot_control.nodes.service_calls import ASK_AGAIN, call_repeatedly, parameters_request
from moe_robot_control.policies.spaces import (
    OBJECTS,
    SKILL_OBJECTS,
    SKILLS,
    Scene,
    expert_observation,
    expert_observation_size,
    unit_action,
)

_MARKS = {"mark/success": "succeeded", "mark/failure": "failed", "abort": "aborted"}
"""How an episode ends by each of the operator's services."""
_ANSWER_TIMEOUT = 30.0
"""Longest wait for a node's answer, or for time to pass within an episode [s]."""
_KEPT = 8
"""Actions that may wait for the observation that they answer."""


class LearnerError(MoeRobotControlError):
    """The graph does not do what learning through it needs."""


class LearnerNode(SceneNode):
    """Learns the expert of one skill from recorded episodes, then from its own.

    Collects the expert's observations and answers by their stamps, learns between episodes, and
    replaces `<workspace>/<skill>.onnx`, which the expert then reloads. Begins episodes by the
    bridge's reset; its status says how they end. With `supervisor` operator there is no bridge:
    the operator is asked (`~/status`, latched JSON: state, prompt, episode) and answers by
    `~/reset_done`, `~/mark/success`, `~/mark/failure` and `~/abort`; the commander is idle
    whenever no episode runs. `~/stop` ends the fine-tuning after the episode under way. All
    that was lived is in the workspace: started again, it goes on.
    """

    qos = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
    """Nobody waits for the learner, and it must miss nothing."""

    def __init__(self, name: str = "learner", **options: object) -> None:
        super().__init__(name, **options)
        declare = partial(self.parameters.declare, fixed=True)
        declare("skill", SKILLS[0], "Whose expert learns.", choices=SKILLS)
        declare("workspace", "", "Folder of the policy, the transitions and the checkpoint.")
        declare("demonstrations", "", "Folder of recorded episodes of the skill.")
        declare("settings", "", "YAML file instead of config/training/awac.yaml.")
        declare("episodes", 200, "How many to explore in.", 0, 1_000_000)
        declare("seed", 0, "Of all randomness.", 0, 10_000)
        declare("lockstep", False, "The simulation waits for every answer.")
        declare(
            "supervisor",
            "bridge",
            "Who resets and judges episodes.",
            choices=("bridge", "operator"),
        )
        declare("time_limit", 20.0, "Of an operator's episodes [s].", 0.1, 3600.0)
        self._collector: Collector | None = None
        self._collecting = False
        self._stamp: int | None = None
        self._twists: dict[int, np.ndarray] = {}
        self._widths: dict[int, float] = {}
        self._status: dict[str, Any] = {}
        self._callers: dict[str, Client] = {}
        self.stopped = False

    # -- set-up ------------------------------------------------------------------------------

    def set_up(self) -> None:
        parameters = self.parameters
        self.skill = parameters["skill"]
        for name in ("workspace", "demonstrations"):
            if not parameters[name]:
                raise LearnerError(f"parameter {name!r} names no folder")
        self._workspace = Path(parameters["workspace"])
        use_one_core()
        settings = Path(parameters["settings"]) if parameters["settings"] else None
        config = load_fine_tuning_config(self.skill, settings)
        prior = transitions_of(load_episodes(Path(parameters["demonstrations"])), self.skill)
        self.log = TransitionLog(
            self._workspace / "transitions", expert_observation_size(self.skill)
        )
        self.tuner = FineTuner(
            self.skill, prior, self.log, config, parameters["seed"], self._workspace
        )
        self._collector = Collector(self.log)
        self.subscribe_scene([name for name in OBJECTS if name in SKILL_OBJECTS[self.skill]])
        prefix = f"experts/{self.skill}"
        self.create_subscription(TwistStamped, f"{prefix}/twist", self._on_twist, self.qos)
        self.create_subscription(JointState, f"{prefix}/gripper", self._on_gripper, self.qos)
        self.create_subscription(String, "mujoco_bridge/status", self._on_status, LATCHED)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self._operated: OperatedEpisode | None = None
        if parameters["supervisor"] == "operator":
            self._operated = OperatedEpisode(self.skill, parameters["time_limit"])
            self._told = ""
            self._status_out = self.create_publisher(String, "~/status", LATCHED)
            self.create_service(Trigger, "~/reset_done", self._on_reset_done)
            for name, end in _MARKS.items():
                self.create_service(Trigger, f"~/{name}", partial(self._on_mark, end))

    def tear_down(self) -> None:
        super().tear_down()
        if self._collector is not None:
            self.log.close()
            self._collector = None

    # -- listening ---------------------------------------------------------------------------

    def on_scene(self, stamp: int, scene: Scene) -> None:
        began = self._stamp is None or stamp < self._stamp
        self._stamp = stamp
        if not self._collecting:
            return
        if began and self._operated is None:  # time was set back: the new episode is here
            self._collector.begin(self.tuner.episodes)
        self._collector.observe(stamp, expert_observation(scene, self.skill))
        self._match(stamp)

    def _on_twist(self, message: TwistStamped) -> None:
        stamp = from_stamp(message.header.stamp)
        _keep(self._twists, stamp, from_twist(message))
        self._match(stamp)

    def _on_gripper(self, message: JointState) -> None:
        stamp = from_stamp(message.header.stamp)
        if message.position:
            _keep(self._widths, stamp, message.position[0])
            self._match(stamp)

    def _match(self, stamp: int) -> None:
        known = stamp in self._twists and stamp in self._widths
        if self._collecting and stamp == self._stamp and known:
            action = np.append(self._twists[stamp], self._widths[stamp])
            self._collector.act(stamp, np.clip(unit_action(action), -1.0, 1.0))

    def _on_status(self, message: String) -> None:
        self._status = json.loads(message.data)

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.stopped = True
        response.success, response.message = True, "after this episode"
        return response

    def _on_reset_done(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._operated.reset_done(time.monotonic())
        response.message = "running" if response.success else "no reset is waited for"
        return response

    def _on_mark(
        self, end: str, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success = self._operated.mark(end)
        response.message = end if response.success else "no episode is running"
        return response

    # -- the procedure -----------------------------------------------------------------------

    def run(
        self, spin: Callable[[float], None], tell: Callable[[str], None] = lambda text: None
    ) -> None:
        """Fine-tune to the end of the budget, or until stopped.

        Args:
            spin: spins this node for at most so long [s]; raises where the graph has died.
            tell: called with a line on every evaluation and episode.

        Raises:
            LearnerError: the graph does not answer.
        """
        self._spin = spin
        tuner = self.tuner
        if self._operated is not None:
            self._trigger("velocity_commander/set_mode/idle")
        for number, _ in enumerate(tuner.pretrain()):
            if number % 20 == 0:
                spin(0.0)
        self._deploy()
        self._wake()
        while not self.stopped:
            if tuner.evaluation_due:
                self._evaluate(tell)
            if tuner.episodes >= self.parameters["episodes"] or self.stopped:
                break
            self._explore(tell)

    def _explore(self, tell: Callable[[str], None]) -> None:
        before = len(self.log)
        number = self.tuner.episodes
        seed = exploration_seed(self.parameters["seed"], number)
        state = self._episode(seed, exploring=True)
        if state == IDLE:
            return
        new = len(self.log) - before
        self.tuner.improve()
        self._deploy()
        self._reload()
        tell(f"episode {number + 1}: {state}, {new} transitions")

    def _evaluate(self, tell: Callable[[str], None]) -> None:
        count = self.tuner.config.evaluation_episodes
        wins = 0
        for index in range(count):
            if self.stopped:
                return
            wins += self._episode(EVALUATION_SEED + index, exploring=False) == "succeeded"
        rolled_back = self.tuner.judge(wins / count)
        if rolled_back:
            self._deploy()
            self._reload()
        tell(
            f"after {self.tuner.episodes} episodes: {wins}/{count} succeed"
            + (", rolled back" if rolled_back else "")
        )

    def _episode(self, seed: int, exploring: bool) -> str:
        """Run one; returns how it ended."""
        self._set(self.skill, exploring=exploring)
        if self._operated is not None:
            return self._operated_episode(exploring)
        self._set("mujoco_bridge", seed=seed, skill=self.skill)
        if not self.parameters["lockstep"]:
            self._trigger("velocity_commander/set_mode/policy")
        self._collecting = exploring
        # once: asked again, it would begin another episode
        answer = self._call(Trigger, "mujoco_bridge/reset", again=math.inf)
        number = int(answer.message.split()[-1])
        deadline = _Deadline("the graph has stalled")
        stamp = self._stamp
        while True:
            status = self._status
            if status.get("episode") == number and status["state"] not in ("idle", "running"):
                break
            if self._stamp != stamp:
                stamp, deadline = self._stamp, _Deadline("the graph has stalled")
            self._spin(0.05)
            deadline.check()
        self._spin(0.0)  # what came along with the end
        if exploring:
            state = status["state"]
            self._collector.end(state == "succeeded", terminated=state != "timed_out")
        self._collecting = False
        if not self.parameters["lockstep"]:
            self._trigger("velocity_commander/set_mode/idle")
        return status["state"]

    def _operated_episode(self, exploring: bool) -> str:
        """Run one that the operator resets and marks; `idle` where stopped before it began."""
        operated = self._operated
        operated.ask()
        while operated.state == WAITING:
            self._tell_operator()
            self._spin(0.05)
            if self.stopped:
                operated.give_up()
                self._tell_operator()
                return IDLE
        self._trigger("velocity_commander/set_mode/policy")
        self._collector.begin(self.tuner.episodes)
        self._collecting = exploring
        stamp, deadline = self._stamp, _Deadline("the graph has stalled")
        try:
            while operated.state == RUNNING:
                self._tell_operator()
                self._spin(0.02)
                operated.tick(time.monotonic())
                if self._stamp != stamp:
                    stamp, deadline = self._stamp, _Deadline("the graph has stalled")
                deadline.check()
        finally:
            self._trigger("velocity_commander/set_mode/idle")
            self._collecting = False
        if exploring:
            state = operated.state
            self._collector.end(state == "succeeded", terminated=state != "aborted")
        self._tell_operator()
        return operated.state

    def _tell_operator(self) -> None:
        operated = self._operated
        status = {
            "state": operated.state,
            "prompt": operated.prompt,
            "episode": self.tuner.episodes,
        }
        text = json.dumps(status)
        if text != self._told:
            self._told = text
            self._status_out.publish(String(data=text))

    def _deploy(self) -> None:
        self.tuner.export(self._workspace / f"{self.skill}.onnx", gaussian=True)

    def _reload(self) -> None:
        self._trigger(f"{self.skill}/reload")

    def _wake(self) -> None:
        """The expert begins unconfigured: until now there was no policy to load."""
        state = self._call(GetState, f"{self.skill}/get_state").current_state.id
        steps = {
            State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
            State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
        }
        deadline = _Deadline(f"{self.skill} does not become active")
        while state != State.PRIMARY_STATE_ACTIVE:
            if state in steps:
                request = ChangeState.Request(transition=Transition(id=steps[state]))
                self._call(ChangeState, f"{self.skill}/change_state", request)
            deadline.check()
            state = self._call(GetState, f"{self.skill}/get_state").current_state.id

    # -- services ----------------------------------------------------------------------------

    def _call(self, kind: Any, name: str, request: Any = None, again: float = ASK_AGAIN) -> Any:
        if name not in self._callers:
            self._callers[name] = self.create_client(kind, name)
        deadline = _Deadline()

        def spin(what: str) -> None:
            self._spin(0.02)
            deadline.check(what)

        return call_repeatedly(self._callers[name], request or kind.Request(), spin, again)

    def _trigger(self, name: str) -> None:
        answer = self._call(Trigger, name)
        if not answer.success:
            raise LearnerError(f"{name}: {answer.message}")

    def _set(self, node: str, **values: Any) -> None:
        request = parameters_request(values)
        for result in self._call(SetParameters, f"{node}/set_parameters", request).results:
            if not result.successful:
                raise LearnerError(f"{node}: {result.reason}")


class _Deadline:
    """Raises when it is over."""

    def __init__(self, complaint: str = "") -> None:
        self._end, self._complaint = time.monotonic() + _ANSWER_TIMEOUT, complaint

    def check(self, complaint: str = "") -> None:
        if time.monotonic() > self._end:
            raise LearnerError(complaint or self._complaint)


def _keep(kept: dict[int, Any], stamp: int, value: Any) -> None:
    """The first value of a stamp; the oldest of too many go."""
    kept.setdefault(stamp, value)
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]


def main() -> int:
    """Console entry: fine-tune in a graph that runs already."""
    node: LearnerNode | None = None
    try:
        check_parameter_files(sys.argv)
        rclpy.init(args=sys.argv)
        executor = LeanExecutor()
        node = LearnerNode()
        executor.add_node(node)
        node.start()
        node.run(executor.spin_some, node.get_logger().info)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (MoeRobotControlError, ParameterException) as error:
        return complain("learner", error)
    finally:
        if node is not None:
            node.tear_down()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
