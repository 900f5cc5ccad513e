"""An expert's policy is replaced in the running graph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import GetState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.qos import LATCHED
from moe_robot_control.policies.runtime import load_expert
from moe_robot_control.policies.spaces import ACTION_SIZE, MAX_SPEED, expert_observation_size

from .client import GraphClient, running
from .conftest import write_linear

SKILL = "push_button"


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """The tiny policies, in a folder of this test's own."""
    return Path(shutil.copytree(models, tmp_path / "policies"))


@pytest.fixture
def graph(folder: Path, domain: int, environment: dict[str, str]) -> Iterator[GraphClient]:
    """The composed graph in lockstep, for one skill."""
    options = GraphOptions(
        true_poses=True, model_directory=str(folder), autostart=False, skill=SKILL
    )
    with running(options, domain, environment) as client:
        client.call(GetState, "velocity_commander/get_state")
        yield client


def constant(path: Path, *outputs: float) -> None:
    """Write a policy that always answers the same; all or nothing, as a learner does."""
    gain = np.zeros((expert_observation_size(SKILL), len(outputs)))
    write_linear(path.with_suffix(".new"), gain, np.array(outputs), "action")
    path.with_suffix(".new").replace(path)


def version_of(graph: GraphClient, accept=lambda version: True) -> str:
    message = graph.message(
        String, f"{SKILL}/version", LATCHED, lambda m: accept(json.loads(m.data)[SKILL])
    )
    return json.loads(message.data)[SKILL]


def test_a_new_file_acts_after_reload_and_a_corrupt_one_does_not(
    graph: GraphClient, folder: Path
) -> None:
    path = folder / f"{SKILL}.onnx"
    first = version_of(graph)
    assert first == load_expert(SKILL, folder).version
    constant(path, 0.0625, 0.0, 0.0, 0.04)
    assert version_of(graph) == first
    assert graph.call(Trigger, f"{SKILL}/reload").success
    second = version_of(graph, lambda version: version != first)
    assert second == load_expert(SKILL, folder).version
    graph.call(Trigger, "mujoco_bridge/reset")
    graph.message(
        TwistStamped, f"experts/{SKILL}/twist", accept=lambda m: m.twist.linear.x == 0.0625
    )
    path.write_bytes(b"half of a mod")
    assert graph.call(Trigger, f"{SKILL}/reload").success
    graph.until(lambda: "stays what it was" in graph.output.getvalue(), "complaint")
    assert version_of(graph) == second
    graph.call(Trigger, "mujoco_bridge/reset")
    graph.message(
        TwistStamped, f"experts/{SKILL}/twist", accept=lambda m: m.twist.linear.x == 0.0625
    )


def test_a_gaussian_policy_is_drawn_from_while_exploring(
    folder: Path, domain: int, environment: dict[str, str], tmp_path: Path
) -> None:
    mean, spread = (0.0625, 0.0, 0.0, 0.04), (0.02, 0.5, 0.0, 0.0)
    assert len(mean) == ACTION_SIZE
    constant(folder / f"{SKILL}.onnx", *mean, *spread)
    settings = tmp_path / "gaussian.yaml"
    settings.write_text("/**:\n  ros__parameters:\n    gaussian: true\n")
    options = GraphOptions(
        true_poses=True,
        model_directory=str(folder),
        skill=SKILL,
        autostart=False,
        parameter_files=(str(settings),),
    )
    topic = f"experts/{SKILL}/twist"
    with running(options, domain, environment) as client:
        client.call(GetState, "velocity_commander/get_state")
        with client.messages(TwistStamped, topic) as best:
            client.call(Trigger, "mujoco_bridge/reset")
            client.until(lambda: len(best) > 10, "actions")
        assert {(m.twist.linear.x, m.twist.linear.y) for m in best} == {(0.0625, 0.0)}
        assert client.set(SKILL, exploring=True).successful
        with client.messages(TwistStamped, topic) as drawn:
            client.call(Trigger, "mujoco_bridge/reset")
            client.until(lambda: len(drawn) > 30, "actions")
        linear = np.array([(m.twist.linear.x, m.twist.linear.y, m.twist.linear.z) for m in drawn])
        assert 0.005 < linear[:, 0].std() < 0.05 and (linear[:, 2] == 0.0).all()
        # never beyond full speed
        assert np.abs(linear[:, 1]).max() == MAX_SPEED
