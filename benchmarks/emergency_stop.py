"""How soon an emergency stop in the console's page brings the arm to rest.

    python benchmarks/emergency_stop.py --trials 30

Another operator moves the simulated arm up and down as fast as it may, and never lets go. In a
real Chromium the button is pressed. Counted from the press (the event's own time) are: the first
command of zero to every joint, and the first joint state at rest. All clocks are this machine's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.qos import COMMAND, SENSOR
from moe_robot_control.nodes.ros_messages import to_twist
from moe_robot_control.nodes.up import graph_commands, graph_environment
from moe_robot_control.policies.spaces import MAX_SPEED

LIMIT = 0.2
"""From the press to a command of zero [s]."""
PATIENCE = 60.0
"""Longest wait for anything [s]."""
PERIOD = 0.02
"""Of the operator's twists [s]."""
HALF_PERIOD = 0.8
"""The arm goes up for so long, then down [s]."""
AT_REST, MOVING = 0.005, 0.1
"""Fastest joint of an arm that rests, and that moves [rad/s]."""


class Bystander(Node):
    """Moves the arm, and notes when it is told to stop and when it stops."""

    def __init__(self, arm: ArmConfig, **options: Any) -> None:
        """Start to move it."""
        options["parameter_overrides"] = [Parameter("use_sim_time", value=True)]
        super().__init__("bystander", **options)
        self._arm = arm
        self.speed = 0.0
        self.commanded: list[tuple[float, float]] = []
        self.measured: list[tuple[float, float]] = []
        self._twists = self.create_publisher(TwistStamped, "teleop/twist", COMMAND)
        commands = arm.topics["joint_velocity"]
        self.create_subscription(Float64MultiArray, commands, self._on_command, COMMAND)
        self.create_subscription(
            JointState, arm.topics["joint_states"], self._on_joint_states, SENSOR
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(PERIOD, self._move, clock=steady)
        self.release = self.create_client(Trigger, "velocity_commander/release")
        self.reset = self.create_client(Trigger, "mujoco_bridge/reset")

    def _move(self) -> None:
        up = time.monotonic() % (2 * HALF_PERIOD) < HALF_PERIOD
        velocity = np.array([0.0, 0.0, MAX_SPEED if up else -MAX_SPEED])
        stamp = self.get_clock().now().nanoseconds
        self._twists.publish(to_twist(stamp, self._arm.base_frame, velocity))

    def _on_command(self, message: Float64MultiArray) -> None:
        fastest = max(map(abs, message.data), default=0.0)
        self.commanded.append((time.time(), fastest))

    def _on_joint_states(self, message: JointState) -> None:
        velocities = message.velocity[: len(self._arm.joint_names)]
        self.speed = max(map(abs, velocities), default=0.0)
        self.measured.append((time.time(), self.speed))


def main() -> int:
    """0 if every stop was commanded within the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--json", type=Path, help="also write the results there")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium is installed: apt-get install chromium", file=sys.stderr)
        return 2
    trials = measure(arguments.trials, chromium)
    result = {"trials": len(trials), "limit_s": LIMIT}
    for name in ("commanded", "at rest"):
        values = np.array([trial[name] for trial in trials]) * 1e3
        median, most = np.median(values), values.max()
        result[name] = {"median_ms": round(float(median), 1), "largest_ms": round(float(most), 1)}
        print(f"{name:>10}: median {median:.0f} ms, largest {most:.0f} ms of {len(values)}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(trial["commanded"] <= LIMIT for trial in trials) else 1


def measure(count: int, chromium: str) -> list[dict[str, float]]:
    """Times from the press [s] of each trial."""
    from playwright.sync_api import sync_playwright

    options = GraphOptions(kind="record", mode="teleop", console="127.0.0.1:0")
    with ExitStack() as stack:
        domain = stack.enter_context(reserved_domain())
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        output = Tail()
        commands = graph_commands(options, composed=False)
        del commands["demo_recorder"], commands["teleop"]
        stack.enter_context(ProcessGroup(commands, environment, output, catch_signals=False))
        context = stack.enter_context(context_of(domain))
        node = Bystander(ArmConfig.load(), context=context)
        stack.callback(node.destroy_node)
        stack.callback(_spin(node, context).join)
        stack.callback(context.try_shutdown)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.callback(browser.close)
        page = browser.new_page()

        def until(condition: Callable[[], Any], what: str) -> Any:
            deadline = time.monotonic() + PATIENCE
            while not (value := condition()):
                if time.monotonic() > deadline:
                    raise SystemExit(f"no {what}: {output.last}")
                # not a plain sleep: a browser whose driver nobody listens to stands still
                page.wait_for_timeout(5)
            return value

        def call(client: Any) -> None:
            until(client.service_is_ready, f"service {client.srv_name}")
            answer = client.call_async(Trigger.Request())
            until(answer.done, f"answer of {client.srv_name}")

        page.goto(until(lambda: _address(output), "address of the console"))
        page.evaluate(
            """document.getElementById("emergency-stop").addEventListener("pointerdown",
            (e) => (window.pressed = performance.timeOrigin + e.timeStamp), true)"""
        )
        page.wait_for_selector("body:not(.offline)")
        button = page.get_by_role("button", name="Emergency stop")
        told = page.get_by_role("region", name="Status")
        trials = []
        for index in range(count):
            if index % 10 == 0:
                call(node.reset)  # before the bench's time is over
            # a graph that is still starting would be measured otherwise
            until(lambda: "moving by the operator" in told.inner_text(), "word of the commander")
            until(lambda: node.speed > MOVING, "motion")
            node.commanded.clear()
            node.measured.clear()
            page.evaluate("document.getElementById('toast').textContent = ''")
            button.click(no_wait_after=True)
            pressed = page.evaluate("pressed") / 1e3
            until(lambda: _is_at_rest(node), "rest")
            # the page's own request is answered, or it would stop the arm again
            page.get_by_text("stopped until").wait_for()
            trials.append(
                {
                    "commanded": _end(node.commanded, 1e-9) - pressed,
                    "at rest": _end(node.measured, AT_REST) - pressed,
                }
            )
            call(node.release)
        return trials


def _spin(node: Bystander, context: Any) -> threading.Thread:
    """Spin a node beside the browser's thread, so that it notes times when they are."""

    def spin() -> None:
        executor = LeanExecutor(context=context)
        executor.add_node(node)
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="bystander")
    thread.start()
    return thread


def _is_at_rest(node: Bystander) -> bool:
    """Whether the last tenth of a second was without command and motion."""
    return all(
        len(history) > 10 and all(value <= most for _, value in history[-10:])
        for history, most in ((node.commanded, 1e-9), (node.measured, AT_REST))
    )


def _address(output: Tail) -> str | None:
    found = re.search(r"open (http://\S+)", "\n".join(output.lines))
    return found.group(1) if found else None


def _end(history: list[tuple[float, float]], most: float) -> float:
    """When the values came to be no larger than `most` for good."""
    last = max((i for i, (_, value) in enumerate(history) if value > most), default=-1)
    return history[last + 1][0]


if __name__ == "__main__":
    sys.exit(main())
