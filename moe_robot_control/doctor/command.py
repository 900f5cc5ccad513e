"""`moe-robot-control doctor`: checks a robot's configuration end to end before it moves."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.doctor.arm_checks import check_arm, load_arm
from moe_robot_control.doctor.camera_checks import check_cameras
from moe_robot_control.doctor.findings import Finding, Level, fault, worst
from moe_robot_control.doctor.model_checks import check_models
from moe_robot_control.doctor.report import print_report
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.share import share_path

TIMEOUT = 10.0
"""How long the live checks wait for what does not come [s]."""


class DoctorError(MoeRobotControlError):
    """Options that ask for nothing that can be checked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.add_argument("--arm", default="panda", help="name in config/arms, or a YAML file")
    parser.add_argument("--namespace", default="", help="namespace of the arm's nodes")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--live", action="store_true", help="only what runs: drivers and topics")
    which.add_argument("--offline", action="store_true", help="only files: needs no ROS")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, help="wait for silent topics [s] (%(default)s)"
    )
    parser.add_argument("--model-directory", default="", help="folder of the policies' ONNX files")
    parser.add_argument(
        "--policy", default="", help="one network of that folder that serves all skills"
    )
    parser.add_argument("--perception-model", default="", help="the pose network's ONNX file")


def run(arguments: argparse.Namespace) -> int:
    """Check and report.

    Returns:
        0 where nothing is at fault, else 1.

    Raises:
        MoeRobotControlError: no such arm, or a bad option.
    """
    if not (math.isfinite(arguments.timeout) and arguments.timeout > 0):
        raise DoctorError(f"--timeout {arguments.timeout:g}: expected seconds above zero")
    arm, finding = load_arm(arguments.arm)
    findings = [finding]
    if not arguments.live:
        findings += offline(arm, arguments)
    if not arguments.offline and arm is not None:
        findings += live(arm, arguments.namespace, arguments.timeout)
    print_report(findings)
    return 1 if worst(findings) is Level.FAULT else 0


def offline(arm: ArmConfig | None, arguments: argparse.Namespace) -> list[Finding]:
    """What files tell."""
    findings = [] if arm is None else [*check_arm(arm), *check_cameras(arm)]
    directory = Path(arguments.model_directory or share_path("models/policies"))
    perception = Path(arguments.perception_model or share_path("models/perception/keypoints.onnx"))
    return [*findings, *check_models(directory, perception, arguments.policy)]


def live(arm: ArmConfig, namespace: str, timeout: float) -> list[Finding]:
    """What the running drivers tell."""
    try:
        # ROS is needed by nothing else here
        from moe_robot_control.nodes.doctor import examine
    except ModuleNotFoundError as error:
        text = f"the Python module {error.name} is not installed"
        return [fault("ROS 2", text, "source ROS 2's setup, or ask with --offline")]
    return examine(arm, namespace, timeout)
