"""Fine-tuning through the real graph, and what a crash leaves of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.cli import main
from moe_robot_control.graph import GraphOptions, NodeSpec
from moe_robot_control.learning.transitions import TransitionLog
from moe_robot_control.manifest import read_manifest
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.policies.runtime import load_expert, load_gaussian_expert
from moe_robot_control.policies.spaces import expert_observation_size
from moe_robot_control.share import share_path

from .client import running

SKILL = "push_button"
SIZE = expert_observation_size(SKILL)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    words = ["record", "--operator", "--skill", SKILL, "--episodes", "3", "--output", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Small networks, few updates, and an evaluation of one episode after each."""
    tree = yaml.safe_load(share_path("config/training/awac.yaml").read_text())
    tree["defaults"] |= {
        "network_width": 16, "network_depth": 1, "offline_updates": 50, "awac_batch": 32,
        "updates_per_step": 0.1, "evaluate_every": 1, "evaluation_episodes": 1,
    }  # fmt: skip
    settings = tmp_path / "awac.yaml"
    settings.write_text(yaml.safe_dump(tree))
    return settings


@pytest.fixture
def command(demonstrations: Path, settings: Path, tmp_path: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "moe_robot_control.cli", "finetune", "--true-poses"),
        *("--skill", SKILL, "--demonstrations", str(demonstrations), "--config", str(settings)),
        *("--workspace", str(tmp_path / "work")),
    ]


def test_it_explores_learns_and_deploys(command: list[str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    done = subprocess.run(
        [*command, "--episodes", "1"], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "episode" in line]
    assert told[0].startswith("after 0 episodes") and told[1].startswith("episode 1: ")
    assert told[2].startswith("after 1 episodes")
    log = TransitionLog(work / "transitions", SIZE)
    lived = log.transitions()
    # one transition for every decision: each begins where the one before ended
    assert f"{len(log)} transitions" in told[1] and len(log) > 10
    np.testing.assert_array_equal(lived.states[1:], lived.next_states[:-1])
    assert lived.actions.abs().max() <= 1.0
    # exploring: not the mean of the policy, which had learned nothing yet from this episode
    assert lived.actions[:, :3].std() > 0.05
    assert (
        load_gaussian_expert(SKILL, work).version != load_expert(SKILL, work / "deployed").version
    )
    metrics = read_manifest(work / "deployed" / f"{SKILL}.onnx")["metrics"]
    assert metrics["episodes"] == 1 and [row[0] for row in metrics["curve"]] == [0, 1]


def test_a_killed_learner_goes_on_with_all_it_lived(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "work" / "transitions"
    learner = subprocess.Popen(
        [*command, "--episodes", "3"], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert learner.stdout is not None
    for line in learner.stdout:
        if line.startswith("episode 1"):
            break
    os.kill(learner.pid, signal.SIGKILL)
    learner.communicate()
    before = path.read_bytes()
    done = subprocess.run(
        [*command, "--episodes", "2"], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert "episode 1:" not in done.stdout and "episode 2:" in done.stdout
    whole = TransitionLog(path, SIZE)
    kept = path.read_bytes()
    assert kept.startswith(before) and len(kept) > len(before)
    assert whole.episodes == 2


def test_an_operator_resets_and_judges(
    demonstrations: Path, settings: Path, tmp_path: Path, domain: int, environment: dict[str, str]
) -> None:
    """On the wall clock, as on a real arm: here the bench is what the operator resets."""
    work = tmp_path / "work"
    work.mkdir()
    options = GraphOptions(
        skill=SKILL, learned=str(work), lockstep=False, true_poses=True, autostart=False
    )
    values = {
        "skill": SKILL, "workspace": str(work), "settings": str(settings), "episodes": 1,
        "demonstrations": str(demonstrations / SKILL), "supervisor": "operator",
        "use_sim_time": True,
    }  # fmt: skip
    spec = NodeSpec(executable="learner", name="learner", parameters=values)
    learner = [sys.executable, "-m", "moe_robot_control.nodes.learner", *spec.ros_arguments()]
    with (
        running(options, domain, environment) as graph,
        subprocess.Popen(learner, env=environment, stderr=subprocess.PIPE, text=True) as process,
    ):
        states: list[str] = []
        prompts: list[str] = []

        def on_status(message: String) -> None:
            status = json.loads(message.data)
            states.append(status["state"])
            prompts.append(status["prompt"])

        graph.node.create_subscription(String, "learner/status", on_status, LATCHED)
        for end in ("mark/failure", "mark/success", "abort"):
            graph.until(lambda: states and states[-1] == "waiting", "wish for a reset")
            assert "button" in prompts[-1]
            assert graph.get("velocity_commander", "mode") == ["idle"]
            # nothing to judge before the reset is done
            assert not graph.call(Trigger, f"learner/{end}").success
            graph.call(Trigger, "mujoco_bridge/reset")
            assert graph.call(Trigger, "learner/reset_done").success
            with graph.messages(TwistStamped, f"experts/{SKILL}/twist") as acted:
                graph.until(lambda acted=acted: len(acted) > 10, "actions")
            assert graph.get("velocity_commander", "mode") == ["policy"]
            assert graph.call(Trigger, f"learner/{end}").success
        graph.until(lambda: process.poll() is not None, "end")
        assert process.returncode == 0, process.stderr.read()
    assert states == [
        *("waiting", "running", "failed"),
        *("waiting", "running", "succeeded"),
        *("waiting", "running", "aborted"),
    ]
    # only the middle one was explored in: one of two evaluations before, one after
    lived = TransitionLog(work / "transitions", SIZE).transitions()
    assert len(lived.rewards) >= 5
    assert lived.rewards[-1] == lived.terminated[-1] == 1.0
    assert lived.rewards[:-1].sum() == lived.terminated[:-1].sum() == 0.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--skill", "sing"], "unknown skill 'sing'"),
        (["--skill", SKILL, "--episodes", "-1"], "--episodes"),
        (["--skill", SKILL, "--demonstrations", "nowhere"], "nowhere"),
        (["--skill", SKILL, "--config", "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_the_node_names_its_bad_parameter(
    run_node: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run_node("learner", "--ros-args", "-p", "skill:=sing")
    assert done.returncode == 2 and "'skill'" in done.stderr
    done = run_node(
        "learner", "--ros-args", "--params-file", str(share_path("config/learner.yaml"))
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "'workspace'" in done.stderr
