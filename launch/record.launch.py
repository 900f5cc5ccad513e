"""The bench with an operator who is recorded: `ros2 launch moe_robot_control record.launch.py`.

On a real arm `deploy.launch.py record:=true` does the same.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from moe_robot_control.graph import PACKAGE, GraphOptions, build_graph, check_options
from moe_robot_control.nodes.arguments import to_arguments
from moe_robot_control.share import share_path

ARGUMENTS = {
    "scenario": ("1", "1 to 7: how many skills are to be done"),
    "skill": ("", "do only this skill"),
    "seed": ("0", "seed of the first episode"),
    "mode": ("", "policy: policies act and the operator intervenes; empty: the operator acts"),
    "by_weights": ("false", "the operator gates trained experts instead of moving the arm"),
    "device": ("joy", "what the operator holds: joy (a topic) or joystick (the kernel's device)"),
    "mapping": ("", "of the device: name in config/teleop, or a YAML file"),
    "operator": ("", "the operator's name"),
    "recordings": ("", "folder of the episodes; empty: data/recordings"),
    "console": ("", "host:port of the operator's web page; empty: none"),
    "true_poses": ("false", "object poses from the simulation, no cameras"),
    "composed": ("false", "all nodes but recorder and teleop in one process"),
    "headless": ("true", "without MuJoCo's viewer"),
    "arm": ("panda", "name in config/arms, or a YAML file"),
}


def _nodes(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    flag = {
        name: value[name].lower() in ("true", "1")
        for name in ("by_weights", "true_poses", "composed", "headless")
    }
    options = GraphOptions(
        kind="record",
        scenario=int(value["scenario"]),
        skill=value["skill"],
        seed=int(value["seed"]),
        mode=value["mode"],
        by_weights=flag["by_weights"],
        device=value["device"],
        mapping=value["mapping"],
        operator=value["operator"],
        recordings=value["recordings"],
        console=value["console"],
        true_poses=flag["true_poses"],
        headless=flag["headless"],
        arm=value["arm"],
    )
    check_options(options)
    common = {"package": PACKAGE, "output": "screen", "on_exit": Shutdown()}
    specs = build_graph(options)
    nodes = []
    if flag["composed"]:
        specs = [spec for spec in specs if spec.alone]
        nodes = [Node(executable="composed", arguments=to_arguments(options), **common)]
    return [
        *nodes,
        *(
            Node(
                executable=spec.executable,
                name=spec.name,
                namespace=spec.namespace,
                parameters=[*map(str, spec.parameter_files), spec.parameters],
                remappings=list(spec.remappings),
                **common,
            )
            for spec in specs
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Entry point of ROS 2's launch."""
    discovery, profiles = "ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE"
    roomy = str(share_path("config/fastdds/recording.xml"))
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription(
        [
            SetEnvironmentVariable(
                discovery, EnvironmentVariable(discovery, default_value="LOCALHOST")
            ),
            SetEnvironmentVariable(profiles, EnvironmentVariable(profiles, default_value=roomy)),
            *arguments,
            OpaqueFunction(function=_nodes),
        ]
    )
