"""The one description of the graph: which nodes run, under which names and parameters.

Both launchers read it: `launch/*.launch.py` and `moe-robot-control up`. It imports neither
rclpy nor launch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from moe_robot_control.control.arbitration import MODES
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.share import share_path

KINDS: tuple[str, ...] = ("sim", "deploy", "record", "finetune")
"""The simulated bench; the same graph less the bridge, for an arm with drivers of its own; the
bench on the wall clock with an operator, who is recorded; bench or arm with a learner."""
PACKAGE = "moe_robot_control"
HOST = "127.0.0.1"
"""Where the operator's console listens by default: this machine alone."""
PORT = 8080
SIMULATION_ONLY: tuple[str, ...] = (
    "scenario",
    "seed",
    "headless",
    "lockstep",
    "true_poses",
    "autostart",
    "learned",
)
"""Options that mean nothing on a real arm."""
DEPLOYMENT_ONLY: tuple[str, ...] = ("dry_run", "record")
"""Options that mean nothing at the simulated bench."""
OPERATOR_ONLY: tuple[str, ...] = ("device", "mapping", "by_weights", "operator", "recordings")
"""Options that mean nothing where nobody is recorded."""

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


def folder_option(path: Path | None) -> str:
    """A folder as `GraphOptions` name it: whole, because nodes may run elsewhere; empty of None."""
    return "" if path is None else str(path.resolve())


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
        mode: who commands the arm at first: policy, teleop or idle; empty: the policies in the
            simulation, nobody on a real arm, the operator where he is recorded at the bench.
        speed_scale: share of the wanted end-effector speed that the arm gets, above 0 to 1.
        dry_run: everything runs, but nothing is published to the real arm.
        record: also with an operator and a recorder, as kind `record` always is.
        device: what the operator holds: joy (a topic) or joystick (the kernel's device).
        mapping: of the device: name in `config/teleop` or path; empty: the device's own.
        by_weights: the operator gates trained experts instead of moving the arm.
        operator: his name.
        recordings: folder of the episodes; empty: as the recorder's file says.
        console: also the operator's web page, at this host:port; empty: none.
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
    mode: str = ""
    speed_scale: float = 1.0
    dry_run: bool = False
    record: bool = False
    device: str = "joy"
    mapping: str = ""
    by_weights: bool = False
    operator: str = ""
    recordings: str = ""
    console: str = ""
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
        GraphError: unknown kind, scenario or mode, an option that the kind does not have, or a
            policy's name that cannot be a node's.
        UnknownSkillError: unknown skill.
    """
    options = GraphOptions() if options is None else options
    check_kind(options.kind)
    _check_choices(options)
    simulated = not is_physical(options)
    common = {"use_sim_time": simulated, "arm": options.arm}
    models = {"model_directory": options.model_directory} if options.model_directory else {}
    nodes = [_bridge(options)] if simulated else []
    if not options.true_poses:
        model = {"model": options.perception_model} if options.perception_model else {}
        nodes.append(_node("perception", options, common | model))
    if _has_policies(options):
        nodes.append(_node("manipulation_network", options, common | models | _gate(options)))
        nodes += _experts(options, common | models)
    nodes.append(_node("velocity_commander", options, common | _commander(options)))
    if options.kind == "finetune":
        nodes.append(_node("learner", options, common | _learner(options), alone=True))
    if _is_recorded(options):
        nodes += [
            _node("teleop", options, common | _teleop(options), alone=True),
            _node("demo_recorder", options, common | _recorder(options), alone=True),
        ]
    if options.console:
        nodes.append(_node("console", options, common | _console(options), alone=True))
    return nodes


def is_physical(options: GraphOptions) -> bool:
    """Whether a real arm is moved, without the bridge."""
    return options.kind == "deploy" or options.operated


def _in_lockstep(options: GraphOptions) -> bool:
    return options.lockstep and options.kind in ("sim", "finetune")


def _is_recorded(options: GraphOptions) -> bool:
    return options.kind == "record" or options.record


def _has_policies(options: GraphOptions) -> bool:
    """Whether gate and experts run: an operator may show what none can do yet."""
    return options.kind != "record" or options.by_weights or options.mode not in ("", "teleop")


def check_kind(kind: str) -> None:
    """Raise `GraphError` unless there is such a graph."""
    if kind not in KINDS:
        raise GraphError(f"unknown graph {kind!r}: expected one of {', '.join(KINDS)}")


def _check_choices(options: GraphOptions) -> None:
    foreign = SIMULATION_ONLY if options.kind == "deploy" else DEPLOYMENT_ONLY
    if not _is_recorded(options):
        foreign += OPERATOR_ONLY
    for option in fields(options):
        # the wall clock is what a real arm has anyway
        if option.name == "lockstep" or option.name not in foreign:
            continue
        if getattr(options, option.name) != option.default:
            raise GraphError(no_such_option(option.name, options.kind))
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
    if options.device not in ("joy", "joystick"):
        raise GraphError(
            f"device {options.device!r}: expected joy or joystick; the keyboard has a terminal of "
            "its own: moe-robot-control teleop"
        )
    if options.mode not in ("", *MODES):
        raise GraphError(f"unknown mode {options.mode!r}: expected one of {', '.join(MODES)}")
    if not 0.0 < options.speed_scale <= 1.0:
        raise GraphError(f"speed scale {options.speed_scale}: expected above 0, at most 1")


def no_such_option(name: str, kind: str) -> str:
    """Why a graph of `kind` does not have option `name`."""
    where = {"sim": "in the simulation", "deploy": "on a real arm"}.get(kind, "at the bench")
    if name.lstrip("-").replace("-", "_") in (*OPERATOR_ONLY, "weights"):
        where = "where nobody is recorded"
    return f"{name} means nothing {where}: leave it out"


def _bridge(options: GraphOptions) -> NodeSpec:
    return _node(
        "mujoco_bridge",
        options,
        {
            "arm": options.arm,
            "scenario": options.scenario,
            "skill": options.skill,
            "seed": options.seed,
            "lockstep": _in_lockstep(options),
            "viewer": not options.headless,
            "object_poses": options.true_poses,
            # an operator begins when he is ready
            "autostart": options.autostart and options.kind == "sim",
        },
    )


def _gate(options: GraphOptions) -> dict[str, ParameterValue]:
    parameters: dict[str, ParameterValue] = {}
    if options.skill:
        parameters["fixed_expert"] = options.skill
    if options.top_k is not None:
        parameters["top_k"] = options.top_k
    if options.by_weights:
        parameters["operator_only"] = True
    return parameters


def _experts(options: GraphOptions, common: dict[str, ParameterValue]) -> list[NodeSpec]:
    if options.learned:
        learned = {"model_directory": options.learned, "gaussian": True, "autostart": False}
        common = common | learned | {"exploration_seed": options.seed}
    if options.policy:
        all_skills = {"shared_policy": options.policy, "skill": options.skill or "all"}
        return [_node("expert_policy", options, common | all_skills, name=options.policy)]
    experts = (options.skill,) if options.skill else SKILLS
    return [
        _node("expert_policy", options, common | {"skill": skill}, name=skill) for skill in experts
    ]


def _commander(options: GraphOptions) -> dict[str, ParameterValue]:
    parameters: dict[str, ParameterValue] = {"lockstep": _in_lockstep(options)}
    if options.mode or options.by_weights:
        parameters["mode"] = options.mode or "policy"
    elif options.operated:
        parameters["mode"] = "idle"
    if options.speed_scale != 1.0:
        parameters["speed_scale"] = options.speed_scale
    if options.dry_run:
        parameters["dry_run"] = True
    return parameters


def _teleop(options: GraphOptions) -> dict[str, ParameterValue]:
    parameters: dict[str, ParameterValue] = {"device": options.device, "mapping": options.mapping}
    return parameters | {"demonstrate": "weights" if options.by_weights else "motion"}


def _recorder(options: GraphOptions) -> dict[str, ParameterValue]:
    parameters: dict[str, ParameterValue] = {"operator": options.operator}
    if options.recordings:
        parameters["directory"] = options.recordings
    if options.kind == "deploy":
        parameters["skill"] = options.skill
    return parameters


def _console(options: GraphOptions) -> dict[str, ParameterValue]:
    host, colon, port = options.console.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) <= 65535):
        raise GraphError(f"console {options.console!r}: expected HOST:PORT, such as {HOST}:{PORT}")
    parameters: dict[str, ParameterValue] = {"host": host.strip("[]"), "port": int(port)}
    if options.recordings:
        parameters["recordings"] = options.recordings
    return parameters


def _learner(options: GraphOptions) -> dict[str, ParameterValue]:
    return {
        "skill": options.skill,
        "workspace": options.learned,
        "demonstrations": options.demonstrations,
        "episodes": options.episodes,
        "seed": options.seed,
        "lockstep": options.lockstep,
        "supervisor": "operator" if options.operated else "bridge",
    }


def _node(
    executable: str,
    options: GraphOptions,
    parameters: dict[str, ParameterValue],
    name: str | None = None,
    alone: bool = False,
) -> NodeSpec:
    files = [share_path(f"config/{executable}.yaml")]
    of_kind = share_path(f"config/{options.kind}/{executable}.yaml")
    if of_kind.is_file():
        files.append(of_kind)
    return NodeSpec(
        executable=executable,
        name=name or executable,
        parameters=parameters,
        parameter_files=(*files, *map(Path, options.parameter_files)),
        namespace=options.namespace,
        alone=alone,
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
