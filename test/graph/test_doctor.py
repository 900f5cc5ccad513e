"""The doctor beside running drivers, over DDS."""

from __future__ import annotations

import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Float64MultiArray

from moe_robot_control import cli
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.doctor.findings import Finding, Level, worst
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes.doctor import examine
from moe_robot_control.nodes.qos import COMMAND, SENSOR

from .fake_driver import fake_driver

PANDA = ArmConfig.load("panda")


def faults(findings: list[Finding], subject: str) -> str:
    return " | ".join(
        f"{f.text} -> {f.advice}"
        for f in findings
        if f.level is Level.FAULT and subject in f.subject
    )


@pytest.mark.parametrize(("name", "namespace"), [("panda", ""), ("ur5e", "left")])
def test_a_sound_robot(
    domain: int,
    name: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    words = ["doctor", "--arm", name, "--live", "--timeout", "20"]
    with fake_driver(domain, ArmConfig.load(name), namespace):
        status = cli.main([*words, *(["--namespace", namespace] if namespace else [])])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert f"/{namespace}/joint_states".replace("//", "/") in printed
    assert "driver listens, nobody else sends" in printed
    assert "does not run yet" in printed
    assert "no faults" in printed


def test_a_sick_robot(domain: int) -> None:
    names = [n.replace("panda_joint", "fr3_joint") for n in PANDA.joint_names]
    sick = {
        "names": [*names, PANDA.gripper_joint],
        "delay": 3.0,
        "cameras": ("left",),
        "encoding": "mono8",
        "controllers": ("joint_velocity",),
        "stop_button": False,
    }
    with fake_driver(domain, PANDA, **sick) as driver:
        driver.node.create_publisher(Image, "camera/color/image_raw", SENSOR)
        driver.node.create_publisher(Float64MultiArray, PANDA.topics["joint_velocity"], COMMAND)
        driver.node.create_publisher(Bool, PANDA.topics["emergency_stop"], SENSOR)
        findings = examine(PANDA, timeout=6.0, domain=domain)
    joints = faults(findings, "/joint_states")
    assert "'panda_joint1' is missing; there is 'fr3_joint1'" in joints
    assert "write 'fr3_joint7' into 'joints.names'" in joints
    assert "at least 3.0" in joints and "clock" in joints
    left, right = faults(findings, "cameras/left"), faults(findings, "cameras/right")
    assert "'mono8', expected 'rgb8' or 'bgr8'" in left
    assert "nobody publishes it; of this kind there are: /camera/color/image_raw" in right
    assert "/driver also sends commands" in faults(findings, "joint_velocity_controller/commands")
    assert "nobody listens" in faults(findings, "gripper_controller/commands")
    assert "best effort" in faults(findings, "/emergency_stop")


def test_nobody_is_there(domain: int) -> None:
    findings = examine(PANDA, "left", timeout=1.0, domain=domain)
    assert worst(findings) is Level.FAULT
    assert "ROS_DOMAIN_ID" in faults(findings, "/left/joint_states")
    assert "nobody publishes" in faults(findings, "/left/cameras/right/image_raw")
    assert "nobody listens" in faults(findings, "/left/gripper_controller/commands")


def test_a_bad_namespace(domain: int) -> None:
    with pytest.raises(MoeRobotControlError, match="--namespace 'a b'"):
        examine(PANDA, "a b", timeout=1.0, domain=domain)
