"""The one description of the graph: which nodes run, under which names and parameters.

Both launchers read it: `launch/*.launch.py` and `moe-robot-control up`. It imports neither
rclpy nor launch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.share import share_path

KINDS: tuple[str, ...] = ("sim", "finetune")
PACKAGE = "moe_robot_control"

ParameterValue = bool | int | float | str | list[str]


class GraphError(MoeRobotControlError):
    """A graph that cannot be built."""


@dataclass(frozen=True)
class NodeSpec:
    """One node.

    Attributes:
        executable: console script and module under `moe_robot_control.nodes`.
        name: the node's name.
        parameters: values that the parameter files do not know.
        parameter_files: YAML files, later ones win.
        remappings: from name, to name.
        namespace: the node's namespace; relative names are below it.
        alone: never in one process with others: it must not make them wait.
    """

    executable: str
    name: str
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    alone: bool = False

    def ros_arguments(self) -> list[str]:
        """The arguments that give a ROS 2 node this name, these parameters and remappings."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace.strip('/')}"]
        for path in self.parameter_files:
            arguments += ["--params-file", str(path)]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_text(value)}"]
        for source, target in self.remappings:
            arguments += ["-r", f"{source}:={target}"]
        return arguments


@dataclass(frozen=True)
class GraphOptions:
    """What can be chosen about a graph.

    Attributes:
        kind: one of `KINDS`.
        scenario: 1 to 7: how many skills are to be done.
        skill: do only this skill with its expert alone; empty: the scenario.
        seed: seed of the first episode.
        headless: without MuJoCo's viewer.
        arm: name in `config/arms`, or a path.
        lockstep: the simulation waits for every answer; else it follows the wall clock.
        true_poses: object poses from the simulation instead of from the cameras.
        autostart: begin the first episode at once.
        top_k: how many of the gate's weights to keep.
        model_directory: folder of the policies; empty: the package's own.
        policy: name of one network in that folder that serves all skills; empty: an expert each.
        learned: folder of the gaussian expert of `skill` that a learner replaces while it acts,
            and which it activates; empty: nothing is learned.
        demonstrations: folder of the recorded episodes that a learner begins with.
        episodes: how many a learner explores in.
        operated: an operator resets and judges episodes on a real arm, without the bridge.
        perception_model: file of the pose network; empty: the package's own.
        namespace: of all nodes.
        parameter_files: YAML files that override those in `config`.
    """

    kind: str = "sim"
    scenario: int = 1
    skill: str = ""
    seed: int = 0
    headless: bool = True
    arm: str = "panda"
    lockstep: bool = True
    true_poses: bool = False
    autostart: bool = True
    top_k: int | None = None
    model_directory: str = ""
    policy: str = ""
    learned: str = ""
    demonstrations: str = ""
    episodes: int = 200
    operated: bool = False
    perception_model: str = ""
    namespace: str = ""
    parameter_files: tuple[str, ...] = ()


def check_options(options: GraphOptions) -> None:
    """Find what every node would stumble over, before any is started.

    Raises:
        ArmConfigError: unknown arm, or a bad file.
        GraphError: no such folder of policies.
    """
    ArmConfig.load(options.arm)
    if options.model_directory and not Path(options.model_directory).is_dir():
        raise GraphError(f"{options.model_directory}: no such folder of policies")


def build_graph(options: GraphOptions | None = None) -> list[NodeSpec]:
    """The nodes of a graph.

    Raises:
        GraphError: unknown kind or scenario, or a policy's name that cannot be a node's.
        UnknownSkillError: unknown skill.
    """
    options = GraphOptions() if options is None else options
    if options.kind not in KINDS:
        raise GraphError(f"unknown graph {options.kind!r}: expected one of {', '.join(KINDS)}")
    if not 1 <= options.scenario <= NUM_SCENARIOS:
        raise GraphError(
            f"scenario {options.scenario} does not exist: expected 1 to {NUM_SCENARIOS}"
        )
    if options.policy and not options.policy.isidentifier():
        raise GraphError(f"policy {options.policy!r}: expected a name of letters, digits and _")
    if options.skill:
        check_skill(options.skill)
    if options.learned and (options.policy or not options.skill):
        raise GraphError("what is learned is the expert of one skill")
    if options.kind == "finetune" and not (options.learned and options.demonstrations):
        raise GraphError("finetune needs a folder to learn in and a folder of demonstrations")
    if options.operated and (options.kind != "finetune" or options.lockstep or options.true_poses):
        raise GraphError("an operator judges in finetune, in real time, from camera images")
    simulated = {"use_sim_time": not options.operated, "arm": options.arm}
    models = {"model_directory": options.model_directory} if options.model_directory else {}
    nodes = [
        _node(
            "mujoco_bridge",
            options,
            {
                "arm": options.arm,
                "scenario": options.scenario,
                "skill": options.skill,
                "seed": options.seed,
                "lockstep": options.lockstep,
                "viewer": not options.headless,
                "object_poses": options.true_poses,
                "autostart": options.autostart and options.kind == "sim",
            },
        )
    ]
    if options.operated:
        nodes.clear()
    if not options.true_poses:
        model = {"model": options.perception_model} if options.perception_model else {}
        nodes.append(_node("perception", options, simulated | model))
    gate: dict[str, ParameterValue] = {**simulated, **models}
    if options.skill:
        gate["fixed_expert"] = options.skill
    if options.top_k is not None:
        gate["top_k"] = options.top_k
    nodes.append(_node("manipulation_network", options, gate))
    expert = simulated | models
    if options.learned:
        learned = {"model_directory": options.learned, "gaussian": True, "autostart": False}
        expert |= learned | {"exploration_seed": options.seed}
    if options.policy:
        expert["shared_policy"] = options.policy
        all_skills = expert | {"skill": options.skill or "all"}
        nodes.append(_node("expert_policy", options, all_skills, name=options.policy))
    else:
        experts = (options.skill,) if options.skill else SKILLS
        nodes += [
            _node("expert_policy", options, expert | {"skill": skill}, name=skill)
            for skill in experts
        ]
    commander: dict[str, ParameterValue] = simulated | {"lockstep": options.lockstep}
    if options.operated:
        commander["mode"] = "idle"
    nodes.append(_node("velocity_commander", options, commander))
    if options.kind == "finetune":
        nodes.append(_learner(options, simulated))
    return nodes


def _learner(options: GraphOptions, common: dict[str, ParameterValue]) -> NodeSpec:
    parameters: dict[str, ParameterValue] = {
        "skill": options.skill,
        "workspace": options.learned,
        "demonstrations": options.demonstrations,
        "episodes": options.episodes,
        "seed": options.seed,
        "lockstep": options.lockstep,
        "supervisor": "operator" if options.operated else "bridge",
    }
    return replace(_node("learner", options, common | parameters), alone=True)


def _node(
    executable: str,
    options: GraphOptions,
    parameters: dict[str, ParameterValue],
    name: str | None = None,
) -> NodeSpec:
    return NodeSpec(
        executable=executable,
        name=name or executable,
        parameters=parameters,
        parameter_files=(
            share_path(f"config/{executable}.yaml"),
            *map(Path, options.parameter_files),
        ),
        namespace=options.namespace,
    )


def _text(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # quoted, or rcl would read the text '1' as a number
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return repr(value)
