"""The console over the graph: what is done in a browser arrives at the arm."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from console.browser import chromium, open_page, take_control
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from moe_robot_control.console.robot import RobotError
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.graph import GraphError, GraphOptions, build_graph
from moe_robot_control.nodes._graph_robot import GraphRobot
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.qos import COMMAND, EVENTS, LATCHED

from .client import GraphClient, running

RunNode = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def graph(
    models: Path, domain: int, environment: dict[str, str], tmp_path: Path
) -> Iterator[GraphClient]:
    """The bench with operator, recorder and console, on the wall clock."""
    options = GraphOptions(
        kind="record",
        skill="push_button",
        mode="policy",
        true_poses=True,
        model_directory=str(models),
        recordings=str(tmp_path / "recordings"),
        console="127.0.0.1:0",
    )
    with running(options, domain, environment) as client:
        yield client


def address(graph: GraphClient) -> str:
    """Where the console says that it is."""
    return graph.until(
        lambda: re.search(r"open (http://127\.0\.0\.1:\d+)/", graph.output.getvalue()),
        "address of the console",
    ).group(1)


def test_a_browser_drives_stops_and_records(graph: GraphClient) -> None:
    with chromium() as browser, open_page(browser, address(graph)) as page:

        def until(condition: Callable[[], Any], what: str) -> Any:
            # both the page and this process's node must go on
            def turn() -> Any:
                page.wait_for_timeout(1)
                return condition()

            return graph.until(turn, what)

        def status(text: str) -> None:
            said = page.get_by_role("region", name="Status")
            until(lambda: text in said.inner_text(), text)

        page.get_by_label("Your name").fill("Ana")
        take_control(page)
        # bench, policies and recorder are found one after the other
        box = page.get_by_role("region", name="Recording")
        until(lambda: "ready" in box.inner_text(), "recorder")
        until(page.get_by_label("Task").is_visible, "bench")
        with graph.messages(String, "demo_recorder/status", LATCHED) as recorder:
            page.get_by_label("Seed").fill("5")
            page.get_by_role("button", name="Start").click()
            until(lambda: recorder and '"state": "recording"' in recorder[-1].data, "recording")
            told = json.loads(recorder[-1].data)
            assert (told["operator"], told["skill"]) == ("Ana", "")
            assert told["episode"].startswith("push_button/")
        status("moving")
        until(lambda: "● recording push_button/" in box.inner_text(), "recording shown")

        with (
            graph.messages(TwistStamped, "teleop/twist", COMMAND) as twists,
            graph.messages(JointState, "teleop/gripper", COMMAND) as grippers,
        ):
            page.locator("#drive").focus()
            page.keyboard.press("g")
            page.keyboard.down("r")
            page.keyboard.down("Space")
            until(lambda: twists and grippers, "twist")
            status("moving by the operator")
            page.keyboard.up("Space")
            until(lambda: twists[-1].twist.linear.z == 0.0, "last twist of zero")
            moves = [m.twist.linear for m in twists[:-1]]
            assert all((m.x, m.y) == (0.0, 0.0) and m.z == 0.125 for m in moves)
            assert twists[0].header.frame_id == "panda_link0"
            assert grippers[0].name == ["panda_gripper"]
            assert grippers[0].position[0] in (0.0, 0.08)
            count = len(twists)
            status("Policies\nmoving")
            until(lambda: "operator" not in page.locator("#status-text").inner_text(), "policies")
            assert len(twists) == count

        with graph.messages(DiagnosticArray, "diagnostics", EVENTS) as diagnostics:
            page.get_by_role("button", name="Emergency stop").click()
            stopped = "standing still: emergency stop"
            until(lambda: any(s.message == stopped for m in diagnostics for s in m.status), "stop")
        status(stopped)
        told = page.locator("#toast")

        def released() -> bool:
            # the graph is seconds old: the page may have said that the service is not there yet
            if "is not there" in told.inner_text():
                page.get_by_role("button", name="Release").click()
            return stopped not in page.locator("#status-text").inner_text()

        page.get_by_role("button", name="Release").click()
        until(released, "release")
        page.get_by_role("button", name="Stop", exact=True).click()
        status("Nobody")
        box.get_by_role("button", name="Success").click()
        box.get_by_role("button", name="Stop and keep").click()
        episodes = page.get_by_role("list", name="Recorded episodes")
        until(lambda: "✓ success" in episodes.inner_text(), "episode in the list")
        assert "push button · Ana" in episodes.inner_text()


def test_an_operator_gates_experts(graph: GraphClient) -> None:
    """Over the socket alone, as where no browser is installed."""
    url = address(graph)
    drive = {"do": "drive", "experts": ["unbox", "push_button"]}

    async def steer(heard: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/control") as ws:
            await ws.send_json({"do": "take_control"})
            while not heard.is_set():
                state = json.loads(await ws.receive_str())
                if "now" in state:
                    await ws.send_json(drive | {"seen": state["now"]})

    async def both() -> list[JointState]:
        heard = asyncio.Event()
        with graph.messages(JointState, "teleop/weights", COMMAND) as weights:

            def listen() -> None:
                graph.until(lambda: weights, "weights")

            steering = asyncio.create_task(steer(heard))
            await asyncio.to_thread(listen)
            heard.set()
            await steering
            return weights

    first = asyncio.run(both())[0]
    assert dict(zip(first.name, first.position, strict=True)) == {
        "unbox": 0.5,
        "push_button": 0.5,
    }


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (("port:=70000",), "port"),
        (("token_file:=/no/such/file",), "/no/such/file: cannot be read"),
        (("certificate:=/no/such/file",), "/no/such/file"),
        (("host:=192.0.2.1", "port:=0"), "192.0.2.1:0: cannot be listened on"),
        (("arm:=nobody",), "nobody"),
    ],
)
def test_bad_input_is_one_line(
    run_node: RunNode, parameters: tuple[str, ...], complaint: str
) -> None:
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    done = run_node("console", "--ros-args", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("console: ") and complaint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["sim", "8080", "localhost:", ":80", "localhost:99999"])
def test_a_bad_address_is_refused(text: str) -> None:
    with pytest.raises(GraphError, match="expected HOST:PORT"):
        build_graph(GraphOptions(console=text))


@pytest.mark.parametrize("kind", ["sim", "deploy", "record"])
def test_every_graph_can_have_a_console(kind: str) -> None:
    spec = build_graph(GraphOptions(kind=kind, console="[::1]:9000"))[-1]
    assert (spec.executable, spec.alone) == ("console", True)
    assert (spec.parameters["host"], spec.parameters["port"]) == ("::1", 9000)


def test_an_emergency_stop_reaches_a_commander_that_is_found_later(domain: int) -> None:
    """Pressed while the graph still starts, it must not be lost."""
    with context_of(domain) as context:
        node = Node("console", context=context, cli_args=[])
        late = Node("velocity_commander", context=context, cli_args=[])
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        executor.add_node(late)
        robot = GraphRobot(node, ArmConfig.load(), Path())
        stops: list[Bool] = []

        def stop(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = True, "stopped"
            return response

        async def press_then_start() -> str:
            pressed = asyncio.ensure_future(robot.emergency_stop())
            for _ in range(3):  # it is on its way before there is anybody to hear it
                await asyncio.sleep(0)
            late.create_subscription(Bool, "emergency_stop", stops.append, COMMAND)
            late.create_service(Trigger, "~/emergency_stop", stop)
            while not pressed.done():
                executor.spin_once(timeout_sec=0.0)
                await asyncio.sleep(0.001)
            return pressed.result()

        assert asyncio.run(press_then_start()) == "stopped"
        for _ in range(100):
            executor.spin_once(timeout_sec=0.0)
        assert stops and all(message.data for message in stops)
        executor.shutdown()
        node.destroy_node()
        late.destroy_node()


def test_an_emergency_stop_that_nobody_confirms_says_so(domain: int) -> None:
    with context_of(domain) as context:
        node = Node("console", context=context, cli_args=[])
        robot = GraphRobot(node, ArmConfig.load(), Path())
        with pytest.raises(RobotError, match=r"not confirmed: .*is not there"):
            asyncio.run(robot.emergency_stop())
        node.destroy_node()
