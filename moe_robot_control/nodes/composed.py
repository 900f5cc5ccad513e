"""All nodes of the graph in one process and one executor: no copies between processes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.graph import NodeSpec, build_graph
from moe_robot_control.nodes._runner import check_parameter_files, complain, run_nodes
from moe_robot_control.nodes.arguments import add_arguments, options_from

CLASSES: dict[str, str] = {
    "mujoco_bridge": "MujocoBridgeNode",
    "perception": "PerceptionNode",
    "manipulation_network": "ManipulationNetworkNode",
    "expert_policy": "ExpertPolicyNode",
    "velocity_commander": "VelocityCommanderNode",
}
"""The node class of each executable, in the module of that name."""


def make_node(spec: NodeSpec) -> Node:
    """The node of a description, in this process."""
    arguments = spec.ros_arguments()
    check_parameter_files(arguments)
    # only what the graph holds is imported: a graph without cameras needs no perception
    module = importlib.import_module(f"moe_robot_control.nodes.{spec.executable}")
    node_class = getattr(module, CLASSES[spec.executable])
    return node_class(cli_args=arguments, use_global_arguments=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Console entry."""
    argv = list(sys.argv if argv is None else argv)
    parser = argparse.ArgumentParser(prog="composed", description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args(remove_ros_args(argv)[1:])
    try:
        specs = [spec for spec in build_graph(options_from(arguments)) if not spec.alone]
    except MoeRobotControlError as error:
        return complain("composed", error)
    return run_nodes([lambda spec=spec: make_node(spec) for spec in specs], "composed", argv)


if __name__ == "__main__":
    sys.exit(main())
