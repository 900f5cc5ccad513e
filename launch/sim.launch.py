"""The simulated bench with ROS 2's launch: `ros2 launch moe_robot_control sim.launch.py`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from moe_robot_control.graph import PACKAGE, GraphOptions, build_graph, check_options
from moe_robot_control.nodes.arguments import to_arguments

ARGUMENTS = {
    "scenario": ("1", "1 to 7: how many skills are to be done"),
    "skill": ("", "do only this skill, with its expert alone"),
    "seed": ("0", "seed of the first episode"),
    "composed": ("false", "all nodes in one process"),
    "policy": ("", "one network of models/policies that serves all skills; else an expert each"),
    "headless": ("true", "without MuJoCo's viewer"),
    "arm": ("panda", "name in config/arms, or a YAML file"),
    "lockstep": ("true", "the simulation waits for every answer; else it follows the wall clock"),
    "console": ("", "host:port of the operator's web page; empty: none"),
}


def _nodes(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    flag = {
        name: value[name].lower() in ("true", "1") for name in ("composed", "headless", "lockstep")
    }
    options = GraphOptions(
        scenario=int(value["scenario"]),
        skill=value["skill"],
        seed=int(value["seed"]),
        policy=value["policy"],
        headless=flag["headless"],
        arm=value["arm"],
        lockstep=flag["lockstep"],
        console=value["console"],
    )
    check_options(options)
    specs = build_graph(options)
    common = {"package": PACKAGE, "output": "screen", "on_exit": Shutdown()}
    nodes = []
    if flag["composed"]:
        specs = [spec for spec in specs if spec.alone]
        nodes = [Node(executable="composed", arguments=to_arguments(options), **common)]
    return nodes + [
        Node(
            executable=spec.executable,
            name=spec.name,
            namespace=spec.namespace,
            parameters=[*map(str, spec.parameter_files), spec.parameters],
            remappings=list(spec.remappings),
            **common,
        )
        for spec in specs
    ]


def generate_launch_description() -> LaunchDescription:
    """Entry point of ROS 2's launch."""
    discovery = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription(
        [
            SetEnvironmentVariable(
                discovery, EnvironmentVariable(discovery, default_value="LOCALHOST")
            ),
            *arguments,
            OpaqueFunction(function=_nodes),
        ]
    )
