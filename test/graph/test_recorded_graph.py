"""The graph in which an operator is recorded, as described."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from moe_robot_control.graph import GraphError, GraphOptions, NodeSpec, build_graph
from moe_robot_control.nodes.arguments import add_arguments, options_from, to_arguments
from moe_robot_control.nodes.up import graph_commands
from moe_robot_control.policies.spaces import SKILLS

from .test_description import launched

RECORDED = GraphOptions(kind="record", skill="unbox", seed=3, operator="ada", recordings="/r")
OPERATOR = ["teleop", "demo_recorder"]


def named(options: GraphOptions) -> dict[str, NodeSpec]:
    return {spec.name: spec for spec in build_graph(options)}


def test_an_operator_needs_no_policies() -> None:
    specs = named(RECORDED)
    assert list(specs) == ["mujoco_bridge", "perception", "velocity_commander", *OPERATOR]
    bridge = specs["mujoco_bridge"].parameters
    assert not bridge["lockstep"] and not bridge["autostart"]
    assert not specs["velocity_commander"].parameters["lockstep"]
    recorder = {"operator": "ada", "directory": "/r", "use_sim_time": True}
    assert recorder.items() <= specs["demo_recorder"].parameters.items()
    assert specs["teleop"].parameters["demonstrate"] == "motion"
    files = [path.parent.name for path in specs["velocity_commander"].parameter_files]
    assert files == ["config", "record"]


def test_interventions_need_policies() -> None:
    specs = named(replace(RECORDED, skill="", mode="policy"))
    assert {"manipulation_network", *SKILLS} <= set(specs)
    assert "operator_only" not in specs["manipulation_network"].parameters


def test_demonstrations_of_weights() -> None:
    specs = named(GraphOptions(kind="record", by_weights=True))
    assert set(SKILLS) <= set(specs)
    assert specs["manipulation_network"].parameters["operator_only"]
    assert specs["velocity_commander"].parameters["mode"] == "policy"
    assert specs["teleop"].parameters["demonstrate"] == "weights"


def test_a_real_arm_is_recorded_when_asked() -> None:
    options = GraphOptions(kind="deploy", record=True, skill="unbox", device="joystick")
    specs = named(options)
    assert list(specs)[-2:] == OPERATOR
    assert specs["demo_recorder"].parameters["skill"] == "unbox"
    assert specs["teleop"].parameters["device"] == "joystick"
    assert not set(OPERATOR) & set(named(GraphOptions(kind="deploy")))


def test_the_recorder_never_shares_a_process() -> None:
    commands = graph_commands(RECORDED, composed=True)
    assert set(commands) == {"composed", *OPERATOR}
    assert [spec.name for spec in build_graph(RECORDED) if spec.alone] == OPERATOR


def test_what_makes_no_sense() -> None:
    for options in (GraphOptions(operator="ada"), GraphOptions(kind="deploy", recordings="/r")):
        with pytest.raises(GraphError, match="nobody is recorded"):
            build_graph(options)
    with pytest.raises(GraphError, match="moe-robot-control teleop"):
        build_graph(replace(RECORDED, device="keyboard"))
    with pytest.raises(GraphError, match="dry_run means nothing at the bench"):
        build_graph(replace(RECORDED, dry_run=True))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for flags, words in (
        (["sim", "--operator", "ada"], "--operator means nothing where nobody is recorded"),
        (["sim", "--weights"], "--weights means nothing where nobody is recorded"),
        (["record", "--real-time"], "--real-time means nothing at the bench"),
        (["record", "--record"], "--record means nothing at the bench"),
    ):
        with pytest.raises(GraphError, match=words):
            options_from(parser.parse_args(flags))


@pytest.mark.parametrize(
    "options",
    [
        RECORDED,
        GraphOptions(kind="record", by_weights=True, mapping="spacemouse", device="joystick"),
        GraphOptions(kind="deploy", record=True, operator="ada"),
    ],
)
def test_options_survive_the_command_line(options: GraphOptions) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert options_from(parser.parse_args(to_arguments(options))) == options


def test_the_launch_file_starts_the_same_nodes() -> None:
    expected = [spec.executable for spec in build_graph(GraphOptions(kind="record"))]
    assert launched("record.launch.py") == expected
    assert launched("record.launch.py", composed="true") == ["composed", *OPERATOR]
    assert launched("deploy.launch.py", record="true")[-2:] == OPERATOR
