"""The operator's node: a synthetic gamepad, keys of a pseudo-terminal, and what they move."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.demonstrations.episode import read_episode
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import COMMAND, LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    from_named_values,
    from_stamp,
    from_twist,
    to_named_values,
)
from moe_robot_control.policies.spaces import SKILLS

from .client import GraphClient, client_of, running
from .test_bad_input import Run, check
from .test_demo_recorder import contents

LB, A, B, Y, START, GUIDE = 4, 0, 1, 3, 7, 8
NODE = [sys.executable, "-m", "moe_robot_control.nodes.teleop", "--ros-args"]
# a stall of a busy machine is not an operator who lets go
NODE += ["-p", "deadline:=2.0"]


class Pad:
    """A synthetic gamepad, which repeats its state as joy_node does, and what comes of it."""

    def __init__(self, client: GraphClient) -> None:
        self.client = client
        self.twists: list[TwistStamped] = []
        self.grippers: list[JointState] = []
        self.weights: list[JointState] = []
        self.joy: Joy | None = None
        node = client.node
        self._out = node.create_publisher(Joy, "joy", COMMAND)
        node.create_subscription(TwistStamped, "teleop/twist", self.twists.append, 50)
        node.create_subscription(JointState, "teleop/gripper", self.grippers.append, 50)
        node.create_subscription(JointState, "teleop/weights", self.weights.append, 50)
        self._repeat = node.create_timer(0.02, lambda: self.joy and self._out.publish(self.joy))
        client.until(self._out.get_subscription_count, "teleop")
        client.until(lambda: node.count_publishers("teleop/twist"), "teleop/twist")
        self.set()

    def set(self, *pressed: int, **axes: float) -> None:
        values = [0.0] * 8
        for name, value in axes.items():
            values[int(name[1:])] = value
        self.joy = Joy(axes=values, buttons=[int(i in pressed) for i in range(11)])
        for _ in range(3):
            self.client.until(lambda: not self._out.publish(self.joy), "joy")
            self.client._executor.spin_some(0.03)

    def tap(self, *pressed: int, **axes: float) -> None:
        self.set(*pressed, **axes)
        self.set()

    def tap_until(self, condition: Callable[[], Any], what: str, *pressed: int) -> None:
        """Tap until it has worked; nodes may not know of each other yet."""
        due = 0.0

        def done() -> bool:
            nonlocal due
            if not condition() and time.monotonic() >= due:
                self.tap(*pressed)
                due = time.monotonic() + 2.0
            return bool(condition())

        self.client.until(done, what)

    def velocity(self, wanted: list[float]) -> None:
        """Wait for this velocity."""

        def came() -> bool:
            return bool(self.twists) and np.allclose(from_twist(self.twists[-1]), wanted)

        self.client.until(came, f"twist {wanted}")


@pytest.fixture
def pad(domain: int, environment: dict[str, str]) -> Iterator[Pad]:
    output = io.StringIO()
    with ExitStack() as stack:
        group = ProcessGroup({"teleop": NODE}, environment, output, False)
        stack.enter_context(group)
        yield Pad(stack.enter_context(client_of(domain, output)))


def test_the_deadman_and_what_comes_when_it_is_released(pad: Pad) -> None:
    pad.set(a1=1.0)
    assert not pad.twists
    pad.set(LB, a1=1.0)
    pad.velocity([0.15, 0.0, 0.0])  # 60 % of 0.25 m/s
    assert pad.twists[-1].header.frame_id == "panda_link0"
    # sent before the twist, but on a topic of its own
    pad.client.until(lambda: pad.grippers, "an opening")
    assert dict(from_named_values(pad.grippers[-1])) == {"panda_gripper": 0.08}
    pad.set(a1=1.0)
    pad.velocity([0.0, 0.0, 0.0])
    count = len(pad.twists)
    pad.set(a1=1.0)
    assert len(pad.twists) == count  # silence
    # a gamepad that dies while the deadman is held
    pad.set(LB, a0=1.0)
    pad.velocity([0.0, 0.15, 0.0])
    pad.joy = None
    pad.velocity([0.0, 0.0, 0.0])


def test_buttons(pad: Pad) -> None:
    called: list[str] = []

    def serve(name: str) -> Any:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            called.append(name)
            response.success = True
            return response

        return pad.client.node.create_service(Trigger, name, answer)

    names = ("demo_recorder/mark_success", "mujoco_bridge/reset", "velocity_commander/release")
    services = [serve(name) for name in (*names, "demo_recorder/start", "demo_recorder/stop")]
    stops: list[Bool] = []
    pad.client.node.create_subscription(Bool, "emergency_stop", stops.append, COMMAND)
    status = pad.client.node.create_publisher(String, "demo_recorder/status", LATCHED)
    pad.client.until(status.get_subscription_count, "subscription")
    pad.client.until(lambda: pad.client.node.count_publishers("emergency_stop"), "emergency_stop")

    def until_called(name: str, *pressed: int) -> None:
        pad.tap_until(lambda: name in called, name, *pressed)

    until_called("demo_recorder/mark_success", Y)
    until_called("mujoco_bridge/reset", START)
    until_called("demo_recorder/start", GUIDE)
    status.publish(String(data=json.dumps({"state": "recording", "episode": "a"})))
    until_called("demo_recorder/stop", GUIDE)
    pad.tap_until(lambda: stops, "emergency stop", B)
    assert stops[0].data
    pad.tap(A)
    pad.set(LB)
    pad.client.until(lambda: pad.grippers and pad.grippers[-1].position[0] == 0.0, "closing")
    assert len(services) == 5


def test_weights_go_before_the_networks(
    domain: int, environment: dict[str, str], models: Path
) -> None:
    """Gamepad, teleop and gate: the operator's experts while he holds the deadman."""
    gate = [sys.executable, "-m", "moe_robot_control.nodes.manipulation_network", "--ros-args"]
    gate += ["-p", f"model_directory:='{models}'"]
    commands = {"teleop": [*NODE, "-p", "demonstrate:=weights"], "gate": gate}
    output = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(ProcessGroup(commands, environment, output, False))
        client = stack.enter_context(client_of(domain, output))
        pad = Pad(client)
        seen: list[dict[str, float]] = []
        node = client.node
        node.create_subscription(
            JointState,
            "gate/weights",
            lambda m: seen.append({k: w for k, w in from_named_values(m).items() if w}),
            SENSOR,
        )
        arm = ArmConfig.load("panda")
        joints = node.create_publisher(JointState, "joint_states", SENSOR)
        visible = node.create_publisher(JointState, "objects/visible", SENSOR)

        def observe() -> None:
            now = node.get_clock().now().nanoseconds
            values = dict(
                zip((*arm.joint_names, arm.gripper_joint), (*arm.home, 0.04), strict=True)
            )
            joints.publish(to_named_values(now, values))
            visible.publish(to_named_values(now, {}))

        node.create_timer(0.05, observe)
        own = {SKILLS[1]: 0.1, SKILLS[3]: 0.3, SKILLS[5]: 0.6}
        client.until(lambda: seen and seen[-1].keys() == own.keys(), "the network's weights")
        pad.set(LB)
        pad.set(LB, a6=-1.0)
        client.until(lambda: seen[-1] == {SKILLS[0]: 1.0}, "the operator's expert")
        pad.set(LB)
        pad.set(LB, 2, a6=-1.0)
        client.until(lambda: seen[-1] == {SKILLS[0]: 0.5, SKILLS[1]: 0.5}, "a blend")
        pad.set()
        client.until(lambda: seen[-1].keys() == own.keys(), "the network's weights again")
        assert not pad.twists
        assert client.set("manipulation_network", operator_only=True).successful
        count = len(seen)
        pad.set(LB, a6=1.0)
        client.until(lambda: seen[-1] == {SKILLS[0]: 1.0}, "the operator's expert alone")
        assert all(weights.keys() != own.keys() for weights in seen[count + 1 :])


def test_a_terminals_keys(domain: int, environment: dict[str, str]) -> None:
    theirs, ours = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "moe_robot_control.cli", "teleop"],
        env=environment,
        stdin=ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with client_of(domain) as client:
            twists: list[TwistStamped] = []
            client.node.create_subscription(TwistStamped, "teleop/twist", twists.append, 50)

            def moves(key: bytes, wanted: list[float]) -> bool:
                os.write(theirs, key)
                client._executor.spin_some(0.02)
                return any(np.allclose(from_twist(m), wanted) for m in twists)

            client.until(lambda: moves(b"w", [0.15, 0.0, 0.0]), "forward")
            client.until(lambda: moves(b"\x1b[D", [0.0, 0.15, 0.0]), "left")
            client.until(lambda: not np.any(from_twist(twists[-1])), "standing still")
            process.send_signal(signal.SIGINT)
            printed = process.communicate(timeout=20)[0]
            assert process.returncode == 0, printed
            assert "speed 60 %" in printed and "w arrow_up: forward" in printed
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)


def test_a_whole_episode_by_gamepad(
    domain: int, environment: dict[str, str], tmp_path: Path
) -> None:
    """Bench, teleop, commander, recorder: what the gamepad does moves the arm and is recorded."""
    options = GraphOptions(
        kind="record",
        skill="push_button",
        seed=5,
        true_poses=True,
        operator="ada",
        recordings=str(tmp_path),
    )
    status: dict[str, Any] = {}
    with running(options, domain, environment) as client:
        node = client.node
        pad = Pad(client)
        node.create_subscription(
            String,
            "demo_recorder/status",
            lambda message: status.update(json.loads(message.data)),
            LATCHED,
        )
        needed = {"objects/button/pose", "command/source", "command/twist", "teleop/twist"}
        client.until(lambda: needed <= set(status.get("hears", ())), "all that is recorded")
        pad.tap_until(lambda: status.get("state") == "recording", "a recording", START)
        # else START's reset could still be under way when the arm is moved
        client.until(lambda: "episode 1" in client.output.getvalue(), "teleop's word of it")
        joints: list[JointState] = []
        node.create_subscription(JointState, "joint_states", joints.append, SENSOR)
        pad.set(LB, a0=1.0)
        pad.velocity([0.0, 0.15, 0.0])
        client.until(
            lambda: joints and joints[-1].position[0] > joints[0].position[0] + 0.05,
            "motion to the left",
        )
        pad.set()
        client.until(
            lambda: len(joints) > 5 and abs(joints[-1].velocity[0]) < 1e-4, "standing still"
        )
        pad.tap_until(lambda: status["success"], "success", Y)
        pad.tap_until(lambda: status["state"] == "idle", "the end", GUIDE)
    assert (status["dropped"], status["lost"]) == (0, 0)
    found, facts = contents(tmp_path / status["episode"])
    wanted = {"skill": "push_button", "seed": "5", "operator": "ada", "success": "true"}
    assert (wanted | {"mode": "teleop", "dropped": "0", "lost": "0"}).items() <= facts.items()
    moved = [from_twist(item.decoded_message)[1] for item in found["command/twist"]]
    assert np.isclose(moved, 0.15).any() and not np.isclose(moved, 0.15).all()
    base = [item.decoded_message.position[0] for item in found["joint_states"]]
    assert base[-1] - base[0] > 0.05
    stamps = np.unique([item.message.publish_time for item in found["joint_states"]])
    assert set(np.diff(stamps)) == {10**7}  # not one is missing
    assert stamps[0] < 11 * 10**9  # on the simulation's clock, from the beginning
    assert needed <= set(found)
    assert from_stamp(pad.twists[0].header.stamp) < 10**12
    # as it is read for training: what he showed, without the twist by which he let go
    episode = read_episode(tmp_path / status["episode"])
    assert len(episode) > 3 and episode.operator.all()
    assert np.allclose(episode.actions, [0.0, 0.15, 0.0, 0.08])


def test_interventions_are_told_from_the_policies_own_actions(
    domain: int, environment: dict[str, str], models: Path, tmp_path: Path
) -> None:
    options = GraphOptions(
        kind="record",
        mode="policy",
        skill="push_button",
        true_poses=True,
        model_directory=str(models),
        recordings=str(tmp_path),
    )
    status: dict[str, Any] = {}
    sources: list[dict[str, float]] = []
    with running(options, domain, environment) as client:
        node = client.node
        pad = Pad(client)

        def on_status(message: String) -> None:
            status.update(json.loads(message.data))

        node.create_subscription(String, "demo_recorder/status", on_status, LATCHED)
        node.create_subscription(
            JointState, "command/source", lambda m: sources.append(from_named_values(m)), SENSOR
        )

        def commands(operator: float) -> bool:
            wanted = {"policy": 1.0, "operator": operator, "moving": 1.0}
            return bool(sources) and wanted.items() <= sources[-1].items()

        needed = {"gate/weights", "experts/push_button/twist", "teleop/twist"}
        client.until(lambda: needed <= set(status.get("hears", ())), "all that is recorded")
        pad.tap_until(lambda: status.get("state") == "recording", "a recording", START)
        for _ in range(2):
            client.until(lambda: commands(0.0), "the policy's command")
            pad.set(LB, a4=1.0)
            client.until(lambda: commands(1.0), "the operator's command")
            # so many that a recorder which gets little of the processor has some of them
            heard = len(pad.twists)
            client.until(lambda heard=heard: len(pad.twists) >= heard + 20, "his twists")
            pad.set()
        client.until(lambda: commands(0.0), "the policy's command")
        pad.tap_until(lambda: status["state"] == "idle", "the end", GUIDE)
    found, facts = contents(tmp_path / status["episode"])
    assert {"mode": "policy", "interventions": "2", "success": "unknown"}.items() <= facts.items()
    told = [from_named_values(item.decoded_message) for item in found["command/source"]]
    changes = np.abs(np.diff([source["operator"] for source in told])).sum()
    assert changes == 4
    assert needed <= set(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "device:=keyboard"], "standard input is not a terminal"),
        (["-p", "device:=joystick", "-p", "joystick:=/nowhere/js0"], "/nowhere/js0: cannot be"),
        (["-p", "mapping:=wheel"], "'wheel': expected one of gamepad"),
    ],
)
def test_bad_devices(run_node: Run, arguments: list[str], words: str) -> None:
    check(run_node("teleop", "--ros-args", *arguments), words)
