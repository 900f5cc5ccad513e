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

from moe_robot_control.graph import KINDS, GraphError, GraphOptions, build_graph
from moe_robot_control.nodes.arguments import add_arguments, options_from, to_arguments
from moe_robot_control.nodes.up import graph_commands, graph_environment
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
    mode="teleop",
    speed_scale=0.25,
    parameter_files=("/a.yaml", "/b.yaml"),
)
DEPLOYED = GraphOptions(
    kind="deploy",
    skill="unbox",
    arm="panda",
    top_k=2,
    model_directory="/models",
    policy="soft_modular",
    perception_model="/net.onnx",
    namespace="left_arm",
    mode="policy",
    speed_scale=0.2,
    dry_run=True,
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


def test_a_deployed_graph_is_the_simulated_one_less_the_bridge() -> None:
    simulated = build_graph(GraphOptions(lockstep=False))
    deployed = build_graph(GraphOptions(kind="deploy"))
    for ours, theirs in zip(simulated[1:], deployed, strict=True):
        assert (ours.executable, ours.name) == (theirs.executable, theirs.name)
        assert theirs.parameters == ours.parameters | {"use_sim_time": False}
    assert theirs.parameters["lockstep"] is False


def test_nothing_moves_when_a_deployed_graph_starts() -> None:
    def mode(options: GraphOptions) -> str:
        (*_, commander) = build_graph(options)
        trees = [yaml.safe_load(path.read_text()) for path in commander.parameter_files]
        files = [tree["/**"]["ros__parameters"].get("mode") for tree in trees]
        return commander.parameters.get("mode") or [value for value in files if value][-1]

    assert mode(GraphOptions(kind="deploy")) == "idle"
    assert mode(GraphOptions(kind="deploy", mode="policy")) == "policy"
    assert mode(GraphOptions()) == "policy"


def test_what_is_chosen_for_a_real_arm_reaches_its_node() -> None:
    specs = {spec.name: spec for spec in build_graph(replace(DEPLOYED, policy=""))}
    wanted = {"dry_run": True, "speed_scale": 0.2, "mode": "policy"}
    assert wanted.items() <= specs["velocity_commander"].parameters.items()
    assert specs["perception"].parameters["model"] == "/net.onnx"
    assert {spec.namespace for spec in specs.values()} == {"left_arm"}
    last = [path.name for path in specs["velocity_commander"].parameter_files[-2:]]
    assert last == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--scenario", "1"],
        ["--seed", "0"],
        ["--viewer"],
        ["--real-time"],
        ["--true-poses"],
        ["--wait"],
        ["--learned", "/work"],
    ],
)
def test_a_real_arm_has_no_options_of_the_simulation(flags: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(GraphError, match=f"{flags[0]} means nothing on a real arm"):
        options_from(parser.parse_args(["deploy", *flags]))


def test_the_simulation_has_no_dry_run() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(GraphError, match="--dry-run means nothing in the simulation"):
        options_from(parser.parse_args(["sim", "--dry-run"]))
    with pytest.raises(GraphError, match="dry_run"):
        build_graph(GraphOptions(dry_run=True))
    with pytest.raises(GraphError, match="true_poses"):
        build_graph(GraphOptions(kind="deploy", true_poses=True))


def test_a_real_arm_may_be_found_on_another_machine() -> None:
    name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert graph_environment({})[name] == "LOCALHOST"
    assert name not in graph_environment({}, local=False)
    assert graph_environment({name: "OFF"}, local=False)[name] == "OFF"


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


@pytest.mark.parametrize("kind", KINDS)
def test_every_node_has_a_parameters_file(kind: str) -> None:
    learning = {"skill": "unbox", "learned": "/work", "demonstrations": "/recorded"}
    chosen = learning if kind == "finetune" else {}
    for spec in build_graph(GraphOptions(kind=kind, **chosen)):
        first, *_ = spec.parameter_files
        assert first.parent.name == "config"
        for path in spec.parameter_files:
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
    with pytest.raises(GraphError, match="waltz"):
        build_graph(GraphOptions(mode="waltz"))
    for scale in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(GraphError, match="speed scale"):
            build_graph(GraphOptions(speed_scale=scale))


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
    "options",
    [
        GraphOptions(),
        CHOSEN,
        replace(CHOSEN, skill=""),
        GraphOptions(kind="deploy"),
        DEPLOYED,
        FINETUNE,
        OPERATED,
    ],
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


def launched(file: str, **arguments: str) -> list[str]:
    """Executables that a launch file starts."""
    launch = pytest.importorskip("launch", reason="ROS 2's launch is not installed")
    pytest.importorskip("launch_ros", reason="ROS 2's launch is not installed")
    path = Path(share_path(f"launch/{file}"))
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = launch.LaunchContext()
    defaults = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    context.launch_configurations.update(defaults | arguments)
    return [action.node_executable for action in module._nodes(context)]


def test_the_launch_file_starts_the_same_nodes() -> None:
    expected = [spec.executable for spec in build_graph(GraphOptions(scenario=2))]
    assert launched("sim.launch.py", scenario="2", seed="1") == expected


def test_the_deployment_launch_file_starts_the_same_nodes() -> None:
    expected = [spec.executable for spec in build_graph(GraphOptions(kind="deploy", top_k=2))]
    assert launched("deploy.launch.py", namespace="left", top_k="2") == expected
    assert launched("deploy.launch.py", composed="true") == ["composed"]
    with pytest.raises(GraphError, match="scenario means nothing on a real arm"):
        launched("deploy.launch.py", scenario="3")


def test_the_fine_tuning_launch_file_starts_the_same_nodes() -> None:
    chosen = {"skill": "unbox", "workspace": "/work", "demonstrations": "/recorded"}
    expected = [spec.executable for spec in build_graph(FINETUNE)]
    assert launched("finetune.launch.py", **chosen) == expected
