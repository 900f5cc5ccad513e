"""The whole round that an operator makes, by the commands of the README, one after the other.

    python benchmarks/full_round.py                      # push_button, 20 episodes; some 10 minutes
    python benchmarks/full_round.py --skill unbox --episodes 5

A scripted operator with a synthetic gamepad records episodes over the graph; they are checked, an
expert is cloned from them alone and evaluated over the graph from camera images, and at last the
graph runs with it on the wall clock, watched in a real Chromium. Ends with status 0 if all went
well.
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
from pathlib import Path
from typing import Any

from moe_robot_control.learning.record_demonstrations import FIRST_SEED
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.up import graph_environment
from scripted_operator import record_episodes

ENOUGH = 0.85
"""Success of the expert over the graph."""
PATIENCE = 120.0
"""Longest wait for an episode in the page [s]."""


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
    # the graph has a gate even where one skill alone is done
    for path in Path("models/policies").glob("manipulation_network.*"):
        shutil.copy(path, models)
    results = folder / "results.json"
    count = str(arguments.evaluations)
    _command(
        "evaluate", "--skill", skill, "--models", str(models), "--episodes", count,
        "--seed", "100", "--json", str(results),
    )  # fmt: skip
    outcomes = json.loads(results.read_text())["episodes"]
    share = sum(outcome["success"] for outcome in outcomes) / len(outcomes)
    watch(skill, models, chromium, folder / "console.png")
    print(f"success over the graph: {share:.0%}; picture of the console: {folder}/console.png")
    return 0 if share >= ENOUGH and not missing else 1


def watch(skill: str, models: Path, chromium: str, picture: Path) -> None:
    """Run the graph on the wall clock until the console's page tells of a success.

    Raises:
        SystemExit: it does not.
    """
    from playwright.sync_api import sync_playwright

    words = [
        "up", "sim", "--real-time", "--skill", skill, "--model-directory", str(models),
        "--console", "127.0.0.1:0", "--seed", "100",
    ]  # fmt: skip
    print(f"$ moe-robot-control {shlex.join(words)}", flush=True)
    output = Tail()
    with reserved_domain() as domain, sync_playwright() as playwright:
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        commands = {"graph": [sys.executable, "-m", "moe_robot_control.cli", *words]}
        with ProcessGroup(commands, environment, output, catch_signals=False):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            address = _until(page, lambda: _address(output), "address of the console")
            page.goto(address)
            page.wait_for_selector("body:not(.offline)")
            _until(page, lambda: "succeeded" in page.inner_text("body").lower(), "success")
            page.screenshot(path=str(picture), full_page=True)
            browser.close()


def _until(page: Any, condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"no {what}")
        page.wait_for_timeout(20)
    return value


def _address(output: Tail) -> str | None:
    found = re.search(r"open (http://\S+)", "\n".join(output.lines))
    return found.group(1) if found else None


def _command(*words: str) -> None:
    print(f"$ moe-robot-control {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "moe_robot_control.cli", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
