"""RViz's configuration and Foxglove's layouts show topics that there are; who commands is told."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import JointState
from visualization_msgs.msg import Marker

from moe_robot_control.control.arbitration import MODES
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.nodes.qos import EVENTS, SENSOR
from moe_robot_control.nodes.ros_messages import from_named_values
from moe_robot_control.policies.spaces import OBJECTS, SKILLS
from moe_robot_control.share import share_path

from .test_commander import Sender, sender  # noqa: F401  (a fixture)

ARM = ArmConfig.load("panda")
MARKERS = {"objects/markers": "MarkerArray", "gate/markers": "MarkerArray"}
LIVE = {
    **MARKERS,
    "command/marker": "Marker",
    **{f"cameras/{name}/image_raw": "Image" for name in ARM.cameras},
}
POSITIONS = {"gate/weights": len(SKILLS), "command/source": len(MODES) + 2}


def test_rviz() -> None:
    tree = yaml.safe_load(share_path("config/rviz/bench.rviz").read_text())
    manager = tree["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == ARM.base_frame
    shown = {
        display["Topic"]["Value"].lstrip("/"): display["Class"].rpartition("/")[2]
        for display in manager["Displays"]
        if "Topic" in display
    }
    assert shown == LIVE
    for display in manager["Displays"]:
        if display["Class"].endswith("/Image"):  # best effort is what cameras offer
            assert display["Topic"]["Reliability Policy"] == "Best Effort"


def texts(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [text for key, value in tree.items() for text in (key, *texts(value))]
    if isinstance(tree, list):
        return [text for value in tree for text in texts(value)]
    return [tree] if isinstance(tree, str) else []


@pytest.mark.parametrize("name", ["live", "recording"])
def test_foxglove(name: str) -> None:
    layout = json.loads(share_path(f"config/foxglove/{name}.json").read_text())
    panels = {text for text in texts(layout["layout"]) if "!" in text}
    assert panels == set(layout["configById"])
    known = {*LIVE, *POSITIONS, "command/twist", "diagnostics"}
    known |= {f"cameras/{camera}/camera_info" for camera in ARM.cameras}
    known |= {f"cameras/{camera}/image_raw/compressed" for camera in ARM.cameras}
    known |= {f"objects/{name}/pose" for name in OBJECTS}
    # a running graph's names begin with a slash, those of a recording do not
    slash = "/" if name == "live" else ""
    found = [t for t in texts(layout["configById"]) if "/" in t.strip("/") or "diagnostics" in t]
    found = [text for text in found if " [" not in text]
    assert len(found) > 20
    for text in found:
        topic, _, field = text.partition(".")
        assert topic.removeprefix("/") in known and topic.startswith("/") == bool(slash), text
        index = re.search(r"position\[(\d+)\]", field)
        if index:
            assert int(index[1]) < POSITIONS[topic.removeprefix("/")]


def test_who_commands_is_told(sender: Sender) -> None:  # noqa: F811
    sources: list[dict[str, float]] = []
    markers: list[Marker] = []
    node = sender.client.node
    node.create_subscription(
        JointState, "command/source", lambda m: sources.append(from_named_values(m)), SENSOR
    )
    node.create_subscription(Marker, "command/marker", markers.append, EVENTS)

    def until(**wanted: float) -> None:
        sender.client.until(
            lambda: sources and wanted.items() <= sources[-1].items(), f"source {wanted}"
        )

    until(policy=1.0, teleop=0.0, operator=0.0, moving=1.0)
    sender.operators = [sender.operator()]
    until(policy=1.0, operator=1.0, moving=1.0)
    sender.client.until(lambda: markers and markers[-1].color.r > 0.8, "the operator's arrow")
    start, end = ([p.x, p.y, p.z] for p in markers[-1].points)
    assert markers[-1].header.frame_id == ARM.base_frame
    assert 0.01 < np.linalg.norm(np.subtract(end, start)) < 0.5
    sender.operators = []
    until(policy=1.0, operator=0.0)
