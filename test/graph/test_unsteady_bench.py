"""The bench pushes the arm only where it was asked to."""

from __future__ import annotations

import io
import sys

import numpy as np
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from moe_robot_control.nodes.processes import ProcessGroup

from .client import client_of

COMMAND = [sys.executable, "-m", "moe_robot_control.nodes.mujoco_bridge", "--ros-args"]
COMMAND += ["-p", "object_poses:=true"]


def test_an_arm_without_commands(domain: int, environment: dict[str, str]) -> None:
    output = io.StringIO()
    with (
        ProcessGroup({"bridge": COMMAND}, environment, output, False),
        client_of(domain, output) as client,
        client.messages(JointState, "joint_states") as received,
    ):

        def moved() -> float:
            joints = np.array([list(message.position)[:7] for message in received])
            return np.ptp(joints, axis=0).max()

        client.until(lambda: len(received) > 100, "joint states")
        assert moved() < 1e-3
        assert client.set("mujoco_bridge", unsteady=True).successful
        # an episode of its own: the first may be over on a busy machine
        assert client.call(Trigger, "mujoco_bridge/reset").success
        received.clear()
        client.until(lambda: len(received) > 1 and moved() > 0.01, "motion")
