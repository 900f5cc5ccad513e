"""The bench pushes the arm only where it was asked to."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from moe_robot_control.nodes.processes import ProcessGroup

from .client import client_of

COMMAND = [sys.executable, "-m", "moe_robot_control.nodes.mujoco_bridge", "--ros-args"]
COMMAND += ["-p", "object_poses:=true", "-p", "real_time_factor:=10.0"]


@pytest.mark.parametrize("unsteady", [False, True])
def test_an_arm_without_commands(domain: int, environment: dict[str, str], unsteady: bool) -> None:
    output = io.StringIO()
    command = [*COMMAND, "-p", f"unsteady:={str(unsteady).lower()}"]
    with (
        ProcessGroup({"bridge": command}, environment, output, False),
        client_of(domain, output) as client,
        client.messages(JointState, "joint_states") as received,
    ):
        client.until(lambda: len(received) > 100, "joint states")
    joints = np.array([list(message.position)[:7] for message in received])
    moved = np.ptp(joints, axis=0).max()
    assert moved > 0.01 if unsteady else moved < 1e-3
