"""The deployed graph on the drivers of an arm, over DDS."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.doctor import examine
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import COMMAND, EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import to_stamp

from .client import GraphClient, client_of, running
from .conftest import processes_of_domain
from .fake_driver import fake_driver

VELOCITY = "joint_velocity_controller/commands"


def until_said(client: GraphClient, topic: str, words: str) -> None:
    """Wait until the commander's diagnostics say so."""
    client.message(
        DiagnosticArray,
        topic,
        EVENTS,
        accept=lambda message: any(words in status.message for status in message.status),
    )


def options(models: Path, pose_network: Path, **more: object) -> GraphOptions:
    return GraphOptions(
        kind="deploy", model_directory=str(models), perception_model=str(pose_network), **more
    )


def test_nothing_moves_until_somebody_says_so(
    models: Path, pose_network: Path, domain: int, environment: dict[str, str]
) -> None:
    with ExitStack() as stack:
        stack.enter_context(fake_driver(domain, ArmConfig.load("panda")))
        client = stack.enter_context(running(options(models, pose_network), domain, environment))
        received = stack.enter_context(client.messages(Float64MultiArray, VELOCITY, COMMAND))
        until_said(client, "diagnostics", "standing still: idle")
        client.until(lambda: len(received) > 20, "commands")
        assert not any(np.any(message.data) for message in received)
        client.call(Trigger, "velocity_commander/set_mode/policy")
        client.until(lambda: any(np.any(message.data) for message in received), "motion")
        report = examine(ArmConfig.load("panda"), timeout=20.0, domain=domain)
        commander = next(f for f in report if f.subject == "velocity_commander")
        assert "does not run" not in commander.text
        assert not any("also sends" in finding.text for finding in report)


def test_a_dry_run_sends_the_arm_nothing(
    models: Path, pose_network: Path, domain: int, environment: dict[str, str]
) -> None:
    chosen = options(
        models, pose_network, arm="ur5e", namespace="left", mode="policy", dry_run=True
    )
    with ExitStack() as stack:
        stack.enter_context(fake_driver(domain, ArmConfig.load("ur5e"), "left"))
        client = stack.enter_context(running(chosen, domain, environment))
        client.message(
            Float64MultiArray,
            "left/command/joint_velocity",
            accept=lambda message: len(message.data) == 6 and any(message.data),
        )
        topics = ArmConfig.load("ur5e").topics
        for role in ("joint_velocity", "gripper"):
            assert client.node.count_publishers(f"/left/{topics[role]}") == 0


def test_speed_is_scaled(
    models: Path, pose_network: Path, domain: int, environment: dict[str, str]
) -> None:
    chosen = options(models, pose_network, mode="policy", speed_scale=0.2)
    with ExitStack() as stack:
        stack.enter_context(fake_driver(domain, ArmConfig.load("panda")))
        client = stack.enter_context(running(chosen, domain, environment))
        assert client.get("velocity_commander", "speed_scale", "mode") == [
            pytest.approx(0.2),
            "policy",
        ]


def end_launcher(up: subprocess.Popen, nodes: list[int]) -> None:
    up.kill()


def end_nodes_twice(up: subprocess.Popen, nodes: list[int]) -> None:
    """As the kernel may tell of a launcher's death: once for each of its threads."""
    for number in (signal.SIGTERM, signal.SIGINT):
        for node in nodes:
            os.kill(node, number)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
@pytest.mark.parametrize("end", [end_launcher, end_nodes_twice])
def test_the_arm_comes_to_rest_when_the_launcher_is_killed(
    end: Callable[[subprocess.Popen, list[int]], None],
    models: Path,
    pose_network: Path,
    domain: int,
    environment: dict[str, str],
) -> None:
    command = [sys.executable, "-m", "moe_robot_control.nodes.up", "deploy", "--composed"]
    command += ["--mode", "policy", "--model-directory", str(models)]
    command += ["--perception-model", str(pose_network)]
    with ExitStack() as stack:
        client = stack.enter_context(client_of(domain))
        received = stack.enter_context(client.messages(Float64MultiArray, VELOCITY, COMMAND))
        stack.enter_context(fake_driver(domain, ArmConfig.load("panda")))
        up = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(up.wait)
        stack.callback(up.kill)
        client.until(lambda: received and any(received[-1].data), "motion")
        end(up, [node for node in processes_of_domain(domain) if node != up.pid])
        client.until(lambda: not processes_of_domain(domain), "end of the nodes")
        client.until(lambda: not any(received[-1].data), "rest")


def test_a_gripper_with_a_driver_of_its_own(domain: int, environment: dict[str, str]) -> None:
    arm = ArmConfig.load("panda")
    command = [sys.executable, "-m", "moe_robot_control.nodes.joint_state_merger"]
    with ExitStack() as stack:
        client = stack.enter_context(client_of(domain))
        stack.enter_context(ProcessGroup({"m": command}, environment, io.StringIO(), False))
        merged = stack.enter_context(client.messages(JointState, "joint_states"))
        ends = [
            client.node.create_publisher(JointState, f"{end}/joint_states", SENSOR)
            for end in ("arm", "gripper")
        ]

        def publish() -> bool:
            stamp = to_stamp(time.time_ns())
            for publisher, names in zip(ends, (arm.joint_names, ["finger"]), strict=True):
                message = JointState(name=list(names), position=[0.5] * len(names))
                message.header.stamp = stamp
                publisher.publish(message)
            return bool(merged)

        client.until(publish, "joint states")
        assert list(merged[0].name) == [*arm.joint_names, "finger"]
        assert list(merged[0].position) == [0.5] * 8
