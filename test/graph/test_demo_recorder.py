"""The recorder node alone: what is published reaches the file, by hand and automatically."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import COMMAND, LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import to_command, to_image, to_named_values
from moe_robot_control.share import share_path

from .client import GraphClient, client_of
from .test_bad_input import Run, check

TICK = 10**7
BEGIN = 10 * 10**9
JPEG = "cameras/left/image_raw/compressed"


class Graph:
    """What a test publishes, and the recorder's answers."""

    def __init__(self, client: GraphClient) -> None:
        self.client = client
        self.status: dict[str, Any] = {}
        publisher = client.node.create_publisher
        self.outs = {
            "joint_states": publisher(JointState, "joint_states", SENSOR),
            "command/source": publisher(JointState, "command/source", SENSOR),
            "cameras/left/image_raw": publisher(Image, "cameras/left/image_raw", SENSOR),
            "gripper": publisher(Float64MultiArray, "gripper_controller/commands", COMMAND),
        }
        self.bench_out = publisher(String, "mujoco_bridge/status", LATCHED)
        client.node.create_subscription(String, "demo_recorder/status", self._on_status, LATCHED)
        outs = [*self.outs.values(), self.bench_out]
        client.until(lambda: all(out.get_subscription_count() for out in outs), "subscriptions")
        self.until(lambda status: True)

    def _on_status(self, message: String) -> None:
        self.status = json.loads(message.data)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        self.client.until(lambda: self.status and condition(self.status), f"{self.status}")
        return self.status

    def call(self, service: str) -> str:
        answer = self.client.call(Trigger, f"demo_recorder/{service}")
        assert answer.success, answer.message
        return answer.message

    def refuse(self, service: str) -> str:
        answer = self.client.call(Trigger, f"demo_recorder/{service}")
        assert not answer.success
        return answer.message

    def bench(self, episode: int, state: str, **facts: Any) -> None:
        told = {"skill": "unbox", "scenario": None, "seed": 7, "stages_done": 1} | facts
        self.bench_out.publish(String(data=json.dumps({"episode": episode, "state": state} | told)))

    def publish(self, count: int, first: int = BEGIN, operator: float = 0.0) -> None:
        """Joint states and commands, and an image every fifth time."""
        for i in range(count):
            stamp = first + i * TICK
            values = {"panda_joint1": 0.1, "panda_gripper": 0.04}
            self.outs["joint_states"].publish(to_named_values(stamp, values))
            self.outs["gripper"].publish(to_command(None, [0.04]))
            if i % 5 == 0:
                source = {"policy": 1.0, "teleop": 0.0, "operator": operator}
                self.outs["command/source"].publish(to_named_values(stamp, source))
                picture = np.full((32, 32, 3), [200, 30, 30], np.uint8)
                self.outs["cameras/left/image_raw"].publish(to_image(stamp, "left", picture))
            time.sleep(0.001)  # best effort: no flood


@contextmanager
def recorder(
    domain: int, environment: dict[str, str], directory: Path, **parameters: object
) -> Iterator[Graph]:
    command = [sys.executable, "-m", "moe_robot_control.nodes.demo_recorder", "--ros-args"]
    command += ["--params-file", str(share_path("config/demo_recorder.yaml"))]
    for name, value in {"directory": f"'{directory}'", **parameters}.items():
        command += ["-p", f"{name}:={value}"]
    output = io.StringIO()
    with ExitStack() as stack:
        group = ProcessGroup({"demo_recorder": command}, environment, output, False)
        stack.enter_context(group)
        yield Graph(stack.enter_context(client_of(domain, output)))


def contents(folder: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Decoded messages by topic, and metadata."""
    found: dict[str, list[Any]] = {}
    facts: dict[str, str] = {}
    with next(folder.glob("*.mcap")).open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for record in reader.iter_metadata():
            facts |= record.metadata
        for item in reader.iter_decoded_messages():
            found.setdefault(item.channel.topic, []).append(item)
    return found, facts


def test_by_hand(domain: int, environment: dict[str, str], tmp_path: Path) -> None:
    with recorder(domain, environment, tmp_path, operator="ada") as graph:
        assert graph.status["state"] == "idle"
        assert "no episode" in graph.refuse("stop")
        assert graph.client.set("demo_recorder", skill="unbox", seed=4).successful
        assert not graph.client.set("demo_recorder", skill="dance").successful
        graph.publish(3)  # not recorded
        graph.call("start")
        assert "stop it first" in graph.refuse("start")
        graph.publish(20, BEGIN + 3 * TICK)
        graph.publish(10, BEGIN + 23 * TICK, operator=1.0)
        graph.until(lambda status: status["messages"] >= 30 + 30 + 6 + 6)
        graph.call("mark_success")
        graph.call("stop")
        status = graph.until(lambda status: status["state"] == "idle")
        assert status["directory"] == str(tmp_path)
        assert (status["success"], status["dropped"], status["lost"]) == (True, 0, 0)
        folder = tmp_path / status["episode"]
        found, facts = contents(folder)
        graph.call("mark_failure")
        assert contents(folder)[1]["success"] == "false"
        graph.call("discard")
        assert not list(tmp_path.rglob("*.mcap"))
    assert folder.parent == tmp_path / "unbox" and folder.name.startswith("unbox_20")
    stamps = [item.message.publish_time for item in found["joint_states"]]
    assert stamps == [BEGIN + i * TICK for i in range(3, 33)]
    assert [m.decoded_message.position[1] for m in found["joint_states"]] == [0.04] * 30
    assert len(found["gripper_controller/commands"]) == 30
    logged = [item.message.log_time for items in found.values() for item in items]
    assert min(logged) > 1e18  # the wall's clock, whatever the messages' is
    images = [item.decoded_message for item in found[JPEG]]
    assert len(images) == 6
    picture = cv2.imdecode(np.frombuffer(images[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(picture[16, 16].astype(int) - [30, 30, 200]).max() < 12
    wanted = {"skill": "unbox", "seed": "4", "operator": "ada", "arm": "panda", "success": "true"}
    assert (wanted | {"interventions": "1", "mode": "policy", "lost": "0"}).items() <= facts.items()


def test_automatically(domain: int, environment: dict[str, str], tmp_path: Path) -> None:
    with recorder(domain, environment, tmp_path, automatic=True, linger=0.0) as graph:
        graph.bench(0, "idle")
        graph.bench(1, "running")
        graph.until(lambda status: status["state"] == "recording")
        graph.publish(10)
        graph.until(lambda status: status["messages"] >= 10 + 10 + 2 + 2)
        graph.bench(1, "succeeded")
        one = graph.until(lambda status: status["state"] == "idle")
        # announced before its joint states, and the old ones still come
        graph.bench(2, "running", skill=None, scenario=3, seed=8)
        graph.until(lambda status: status["state"] == "recording")
        graph.publish(5, BEGIN + 10 * TICK)
        graph.publish(15, BEGIN - 5 * TICK)
        graph.until(lambda status: status["messages"] >= 15)
        graph.bench(3, "running")  # reset before its end
        three = graph.until(lambda status: status["episode"].startswith("unbox"))
        two = next(path for path in (tmp_path / "gate").iterdir())
    _, facts = contents(tmp_path / one["episode"])
    wanted = {"skill": "unbox", "scenario": "", "seed": "7", "success": "true"}
    assert (wanted | {"reason": "succeeded"}).items() <= facts.items()
    found, facts = contents(two)
    assert two.name.startswith("scenario_3_")
    wanted = {"skill": "", "scenario": "3", "seed": "8", "success": "unknown"}
    assert (wanted | {"reason": "begun anew"}).items() <= facts.items()
    stamps = [item.message.publish_time for item in found["joint_states"]]
    assert stamps == [BEGIN + i * TICK for i in range(-5, 10)]
    # the node was told to end while it recorded
    _, facts = contents(tmp_path / three["episode"])
    assert facts["reason"] == "recorder ended"


def test_time_that_is_set_back_ends_an_episode(
    domain: int, environment: dict[str, str], tmp_path: Path
) -> None:
    with recorder(domain, environment, tmp_path) as graph:
        graph.call("start")
        graph.publish(5, 2 * BEGIN)
        graph.until(lambda status: status["messages"] > 0)
        graph.publish(5, BEGIN)
        status = graph.until(lambda status: status["state"] == "idle")
        assert status["episode"].startswith("unnamed/unnamed_")
        found, facts = contents(tmp_path / status["episode"])
    assert facts["reason"] == "time was set back"
    assert all(item.message.publish_time >= 2 * BEGIN for item in found["joint_states"])


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["-p", "skill:=dance"], "dance"),
        (["-p", "arm:=octopus"], "octopus"),
    ],
)
def test_bad_parameters(run_node: Run, arguments: list[str], culprit: str) -> None:
    check(run_node("demo_recorder", "--ros-args", *arguments), culprit)
