"""The whole round that an operator makes, by the commands of the README, one after the other.

    python benchmarks/full_round.py                      # push_button, 20 episodes; some 10 minutes
    python benchmarks/full_round.py --skill unbox --episodes 5

A scripted operator with a synthetic gamepad records episodes over the graph; they are checked, an
expert is cloned from them alone and evaluated over the graph from camera images, and at last it is
deployed on the rehearsal arm, where somebody in a real Chromium lets it act and watches. Ends with
status 0 if all went well.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from moe_robot_control.learning.record_demonstrations import FIRST_SEED
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.nodes.up import graph_environment
from scripted_operator import record_episodes

ENOUGH = 0.85
"""Success of the expert over the graph."""
PATIENCE = 120.0
"""Longest wait for anything on the rehearsal arm [s]."""


def main() -> int:
    """Make the round; 0 if all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--skill", default="push_button")
    parser.add_argument("--episodes", type=int, default=20, help="to record")
    parser.add_argument("--evaluations", type=int, default=20, help="of the expert")
    parser.add_argument("--folder", type=Path, default=Path("data/round"), help="replaced")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium is installed: apt-get install chromium", file=sys.stderr)
        return 2
    skill, folder = arguments.skill, arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    recordings, models = folder / "recordings", folder / "models"
    print(f"# a gamepad records {arguments.episodes} episodes", flush=True)
    failed, missing = record_episodes(recordings, arguments.episodes, FIRST_SEED, skill=skill)
    print(f"{arguments.episodes} recorded, {failed} failed, {missing} messages missing", flush=True)
    _command("demos", "check", str(recordings / skill))
    where = ["--demonstrations", str(recordings), "--output", str(models)]
    _command("train", "bc", "--skill", skill, *where)
    results = folder / "results.json"
    count = str(arguments.evaluations)
    _command(
        "evaluate", "--skill", skill, "--models", str(models), "--episodes", count,
        "--seed", "100", "--json", str(results),
    )  # fmt: skip
    outcomes = json.loads(results.read_text())["episodes"]
    share = sum(outcome["success"] for outcome in outcomes) / len(outcomes)
    picture = folder / "console.png"
    end = deploy(skill, models, chromium, picture)
    print(f"success over the graph: {share:.0%}; on the rehearsal arm: {end}; console: {picture}")
    return 0 if share >= ENOUGH and not missing and end == "succeeded" else 1


def deploy(skill: str, models: Path, chromium: str, picture: Path) -> str:
    """Deploy the expert on the rehearsal arm, let it act from the console's page; how it ended.

    The page is photographed while the arm moves.

    Raises:
        SystemExit: something does not come.
    """
    from playwright.sync_api import sync_playwright

    words = [
        "up", "deploy", "--skill", skill, "--model-directory", str(models),
        "--console", "127.0.0.1:0",
    ]  # fmt: skip
    print(f"$ moe-robot-control {shlex.join(words)}", flush=True)
    arm = ["--ros-args", "-p", f"skill:='{skill}'", "-p", f"time_limit:={PATIENCE}"]
    commands = {
        "arm": [sys.executable, str(Path(__file__).parent / "rehearsal_arm.py"), *arm],
        "graph": [sys.executable, "-m", "moe_robot_control.cli", *words],
    }
    output, states = Tail(), [""]
    with ExitStack() as stack:
        domain = stack.enter_context(reserved_domain())
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        stack.enter_context(ProcessGroup(commands, environment, output, catch_signals=False))
        node = Node("watcher", context=stack.enter_context(context_of(domain)), cli_args=[])
        stack.callback(node.destroy_node)
        executor = LeanExecutor(context=node.context)
        executor.add_node(node)

        def on_status(message: String) -> None:
            states.append(json.loads(message.data)["state"])

        node.create_subscription(String, "rehearsal_arm/status", on_status, LATCHED)
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 900})

        def until(condition: Callable[[], Any], what: str) -> Any:
            deadline = time.monotonic() + PATIENCE
            while not (value := condition()):
                if time.monotonic() > deadline:
                    raise SystemExit(f"no {what}; the graph: {output.last}")
                executor.spin_some(0.01)
                page.wait_for_timeout(10)
            return value

        page.goto(until(lambda: _address(output), "address of the console"))
        page.wait_for_selector("body:not(.offline)")
        page.get_by_role("button", name="Take control").click()
        page.wait_for_selector("body:not(.watching)")
        until(lambda: states[-1] == "running", "arm")
        status = page.get_by_role("region", name="Status")
        policy = page.get_by_role("group", name="Who commands").get_by_text("Policies")

        def moving() -> bool:
            policy.click()
            return "moving" in status.inner_text()

        until(moving, "motion")
        page.screenshot(path=str(picture), full_page=True)
        until(lambda: states[-1] != "running", "end of the episode")
        return states[-1]


def _address(output: Tail) -> str | None:
    found = re.search(r"open (http://\S+)", "\n".join(output.lines))
    return found.group(1) if found else None


def _command(*words: str) -> None:
    print(f"$ moe-robot-control {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "moe_robot_control.cli", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
