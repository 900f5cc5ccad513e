"""The description of the graph, without running it."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from moe_robot_control.graph import GraphError, GraphOptions, build_graph
from moe_robot_control.nodes.arguments import add_arguments, options_from, to_arguments
from moe_robot_control.nodes.up import graph_commands
from moe_robot_control.policies.spaces import SKILLS, UnknownSkillError
from moe_robot_control.share import share_path

CHOSEN = GraphOptions(
    scenario=4,
    skill="unbox",
    seed=9,
    headless=False,
    arm="panda",
    lockstep=False,
    true_poses=True,
    autostart=False,
    top_k=2,
    model_directory="/models",
    policy="soft_modular",
    learned="/work",
    demonstrations="/recorded",
    perception_model="/net.onnx",
    namespace="left_arm",
    parameter_files=("/a.yaml", "/b.yaml"),
)


def test_the_whole_graph() -> None:
    specs = {spec.name: spec for spec in build_graph()}
    assert list(specs) == [
        "mujoco_bridge",
        "perception",
        "manipulation_network",
        *SKILLS,
        "velocity_commander",
    ]
    for skill in SKILLS:
        assert specs[skill].executable == "expert_policy"
        assert specs[skill].parameters["skill"] == skill
    assert all(spec.parameters.get("use_sim_time") for spec in list(specs.values())[1:])
    assert specs["mujoco_bridge"].parameters["lockstep"]
    assert specs["velocity_commander"].parameters["lockstep"]


@pytest.mark.parametrize("skill", ["", "unbox"])
def test_one_policy_for_all_skills(skill: str) -> None:
    specs = {spec.name: spec for spec in build_graph(GraphOptions(policy="one", skill=skill))}
    (node,) = [spec for spec in specs.values() if spec.executable == "expert_policy"]
    assert node.name == "one"
    assert node.parameters["skill"] == (skill or "all")
    assert node.parameters["shared_policy"] == "one"


def test_what_is_learned_waits_for_the_learner() -> None:
    specs = {s.name: s for s in build_graph(GraphOptions(skill="unbox", learned="/work"))}
    wanted = {"model_directory": "/work", "gaussian": True, "autostart": False}
    assert wanted.items() <= specs["unbox"].parameters.items()
    assert "model_directory" not in specs["manipulation_network"].parameters
    for options in (
        GraphOptions(learned="/work"),
        GraphOptions(skill="unbox", learned="/work", policy="one"),
    ):
        with pytest.raises(GraphError, match="expert of one skill"):
            build_graph(options)


def test_every_node_has_a_parameters_file() -> None:
    for spec in build_graph():
        (path,) = spec.parameter_files
        tree = yaml.safe_load(path.read_text())
        assert path.name == f"{spec.executable}.yaml"
        assert set(tree["/**"]) == {"ros__parameters"}


def test_one_skill_runs_its_expert_alone() -> None:
    specs = {spec.name: spec for spec in build_graph(GraphOptions(skill="unbox"))}
    assert "unbox" in specs and "push_button" not in specs
    assert specs["manipulation_network"].parameters["fixed_expert"] == "unbox"


def test_bad_options() -> None:
    for scenario in (0, 8, 9):
        with pytest.raises(GraphError, match=f"{scenario}.*1 to 7"):
            build_graph(GraphOptions(scenario=scenario))
    with pytest.raises(GraphError, match=r"'soft-modular\.onnx'"):
        build_graph(GraphOptions(policy="soft-modular.onnx"))
    with pytest.raises(GraphError, match="dishes"):
        build_graph(GraphOptions(kind="dishes"))
    with pytest.raises(UnknownSkillError, match="dance"):
        build_graph(GraphOptions(skill="dance"))


FINETUNE = GraphOptions(
    kind="finetune", skill="unbox", seed=4, learned="/work", demonstrations="/recorded", episodes=7
)
OPERATED = replace(FINETUNE, operated=True, lockstep=False)


def test_a_learner_has_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {spec.name: spec for spec in build_graph(FINETUNE)}
    learner = specs.pop("learner")
    assert learner.alone and not any(spec.alone for spec in specs.values())
    wanted = {"skill": "unbox", "workspace": "/work", "demonstrations": "/recorded", "seed": 4}
    wanted |= {"episodes": 7, "lockstep": True, "supervisor": "bridge", "use_sim_time": True}
    assert wanted.items() <= learner.parameters.items()
    assert not specs["mujoco_bridge"].parameters["autostart"]
    assert list(specs) == [s.name for s in build_graph(replace(FINETUNE, kind="sim"))]
    assert list(graph_commands(FINETUNE, composed=True)) == ["learner", "composed"]


def test_an_operated_arm_has_no_bridge_and_begins_idle() -> None:
    specs = {spec.name: spec for spec in build_graph(OPERATED)}
    assert "mujoco_bridge" not in specs and "perception" in specs
    assert not any(spec.parameters["use_sim_time"] for spec in specs.values())
    assert specs["velocity_commander"].parameters["mode"] == "idle"
    assert specs["learner"].parameters["supervisor"] == "operator"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (replace(FINETUNE, demonstrations=""), "demonstrations"),
        (replace(FINETUNE, learned=""), "folder to learn in"),
        (replace(FINETUNE, operated=True), "real time"),
        (replace(OPERATED, kind="sim"), "in finetune"),
    ],
)
def test_bad_fine_tuning_is_named(options: GraphOptions, said: str) -> None:
    with pytest.raises(GraphError, match=said):
        build_graph(options)


@pytest.mark.parametrize(
    "options", [GraphOptions(), CHOSEN, replace(CHOSEN, skill=""), FINETUNE, OPERATED]
)
def test_options_survive_the_command_line(options: GraphOptions) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert options_from(parser.parse_args(to_arguments(options))) == options


def test_ros_arguments_quote_texts() -> None:
    chosen = replace(CHOSEN, policy="")
    (expert,) = [spec for spec in build_graph(chosen) if spec.executable == "expert_policy"]
    arguments = expert.ros_arguments()
    assert arguments[:5] == ["--ros-args", "-r", "__node:=unbox", "-r", "__ns:=/left_arm"]
    assert "skill:='unbox'" in arguments
    assert "use_sim_time:=true" in arguments
    files = [arguments[i + 1] for i, a in enumerate(arguments) if a == "--params-file"]
    assert files[1:] == ["/a.yaml", "/b.yaml"]


def test_the_description_needs_neither_rclpy_nor_launch() -> None:
    code = (
        "import sys, moe_robot_control.graph, moe_robot_control.nodes.arguments;"
        "sys.exit(bool({'rclpy', 'launch', 'mujoco'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("name", "chosen", "options"),
    [
        ("sim", {"scenario": "2"}, GraphOptions(scenario=2)),
        (
            "finetune",
            {"skill": "unbox", "workspace": "/work", "demonstrations": "/recorded"},
            FINETUNE,
        ),
    ],
)
def test_the_launch_file_starts_the_same_nodes(
    name: str, chosen: dict[str, str], options: GraphOptions
) -> None:
    launch = pytest.importorskip("launch", reason="ROS 2's launch is not installed")
    pytest.importorskip("launch_ros", reason="ROS 2's launch is not installed")
    path = Path(share_path(f"launch/{name}.launch.py"))
    spec = importlib.util.spec_from_file_location(f"{name}_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    defaults = {argument: value for argument, (value, _) in module.ARGUMENTS.items()}
    context.launch_configurations.update(defaults | chosen)
    executables = [action.node_executable for action in module._nodes(context)]
    assert executables == [spec.executable for spec in build_graph(options)]
