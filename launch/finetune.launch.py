"""Fine-tuning of one expert: `ros2 launch moe_robot_control finetune.launch.py skill:=unbox ...`.

The graph and, in a process of its own, the learner. With `operated:=true` there is no bridge: the
arm's and the cameras' drivers run elsewhere, and the learner asks an operator.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from moe_robot_control.graph import PACKAGE, GraphOptions, build_graph, check_options
from moe_robot_control.nodes.arguments import to_arguments

ARGUMENTS = {
    "skill": ("", "whose expert learns"),
    "workspace": ("", "folder of the policy, the transitions and the checkpoint"),
    "demonstrations": ("", "folder of recorded episodes of the skill"),
    "episodes": ("200", "to explore in"),
    "seed": ("0", "of all randomness"),
    "operated": ("false", "a real arm: an operator resets and judges"),
    "true_poses": ("false", "object poses from the simulation, no cameras"),
    "composed": ("false", "all nodes but the learner in one process"),
    "headless": ("true", "without MuJoCo's viewer"),
    "arm": ("panda", "name in config/arms, or a YAML file"),
    "lockstep": ("true", "the simulation waits for every answer; else it follows the wall clock"),
}


def _nodes(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    flag = {
        name: value[name].lower() in ("true", "1")
        for name in ("operated", "true_poses", "composed", "headless", "lockstep")
    }
    options = GraphOptions(
        kind="finetune",
        skill=value["skill"],
        learned=value["workspace"],
        demonstrations=value["demonstrations"],
        episodes=int(value["episodes"]),
        seed=int(value["seed"]),
        operated=flag["operated"],
        true_poses=flag["true_poses"],
        headless=flag["headless"],
        arm=value["arm"],
        lockstep=flag["lockstep"] and not flag["operated"],
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
