"""The graph for a real arm with ROS 2's launch: `ros2 launch moe_robot_control deploy.launch.py`.

The arm's drivers, controllers and cameras are launched beside it: see docs/deploy.md.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from moe_robot_control.graph import (
    PACKAGE,
    SIMULATION_ONLY,
    GraphError,
    GraphOptions,
    build_graph,
    check_options,
    no_such_option,
)
from moe_robot_control.nodes.arguments import to_arguments

ARGUMENTS = {
    "arm": ("panda", "name in config/arms, or a YAML file"),
    "namespace": ("", "namespace of all nodes: one for each of two arms"),
    "mode": ("", "who commands the arm at first: policy, teleop or idle; empty: idle"),
    "dry_run": ("false", "everything runs, but nothing is published to the arm"),
    "speed_scale": ("1.0", "share of the wanted speed, above 0 to 1"),
    "skill": ("", "do only this skill, with its expert alone"),
    "policy": (
        "",
        "one network of the model directory for all skills; else an expert each",
    ),
    "top_k": ("", "keep the k largest gate weights; empty: as config says"),
    "model_directory": ("", "folder of the policies' ONNX files; empty: the package's own"),
    "perception_model": ("", "the pose network's ONNX file; empty: the package's own"),
    "record": ("false", "also teleop and demo_recorder"),
    "operator": ("", "recorded: the operator's name"),
    "recordings": ("", "recorded: folder of the episodes; empty: data/recordings"),
    "parameters": ("", "YAML file that overrides those in config/"),
    "console": ("", "host:port of the operator's web page; empty: none"),
    "composed": ("false", "all nodes in one process"),
}


def _nodes(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    for name in SIMULATION_ONLY:
        if name in given:
            raise GraphError(no_such_option(name, "deploy"))
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    flag = {
        name: value[name].lower() in ("true", "1") for name in ("composed", "dry_run", "record")
    }
    options = GraphOptions(
        kind="deploy",
        arm=value["arm"],
        namespace=value["namespace"],
        mode=value["mode"],
        dry_run=flag["dry_run"],
        record=flag["record"],
        operator=value["operator"],
        recordings=value["recordings"],
        speed_scale=float(value["speed_scale"]),
        skill=value["skill"],
        policy=value["policy"],
        top_k=int(value["top_k"]) if value["top_k"] else None,
        model_directory=value["model_directory"],
        perception_model=value["perception_model"],
        console=value["console"],
        parameter_files=(value["parameters"],) if value["parameters"] else (),
    )
    check_options(options)
    specs = build_graph(options)
    common = {"package": PACKAGE, "output": "screen", "on_exit": Shutdown()}
    composed = []
    if flag["composed"]:
        composed = [Node(executable="composed", arguments=to_arguments(options), **common)]
        specs = [spec for spec in specs if spec.alone]
    return composed + [
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
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])
