"""Runs the graph as processes where ROS 2's launch is not installed: `up`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.graph import GraphOptions, build_graph, check_options, is_physical
from moe_robot_control.nodes._runner import check_parameter_files
from moe_robot_control.nodes.arguments import add_arguments as add_graph_arguments
from moe_robot_control.nodes.arguments import options_from, to_arguments
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.share import share_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `up`."""
    add_graph_arguments(parser)
    parser.add_argument("--composed", action="store_true", help="all nodes in one process: faster")


def run(arguments: argparse.Namespace) -> int:
    """Run the graph until Ctrl-C or until a node ends.

    Returns:
        0 after Ctrl-C or SIGTERM, or after a learner's last episode; 2 for bad options; else the
        first node's exit status, or 1 where that is zero, after a line on stderr that names the
        node.
    """
    try:
        options = options_from(arguments)
        commands = graph_commands(options, arguments.composed)
    except MoeRobotControlError as error:
        print(f"up: {error}", file=sys.stderr)
        return 2
    if options.dry_run:
        print("up: dry run: nothing is published to the arm", file=sys.stderr)
    physical = is_physical(options)
    recorded = options.kind == "record" or options.record
    environment = graph_environment(local=not physical, recorded=recorded)
    # a commander that is killed leaves a real arm's controllers with its last command
    death_signal = signal.SIGTERM if physical else signal.SIGKILL
    with ProcessGroup(commands, environment, death_signal=death_signal) as group:
        ended = group.wait()
    if ended is None:
        return 0
    name, status = ended
    if name == "learner" and status == 0:
        return 0  # it has done its work
    print(f"up: node {name} ended with exit status {status}", file=sys.stderr)
    return status if status > 0 else 1


def graph_commands(options: GraphOptions, composed: bool) -> dict[str, list[str]]:
    """The command of each process by the name that it is shown under.

    Raises:
        MoeRobotControlError: options or files that no graph can be made of.
    """
    check_options(options)
    specs = build_graph(options)
    for spec in specs:
        check_parameter_files(spec.ros_arguments())
    module = [sys.executable, "-m", "moe_robot_control.nodes."]
    commands = {
        spec.name: [*module[:2], f"{module[2]}{spec.executable}", *spec.ros_arguments()]
        for spec in specs
        if spec.alone or not composed
    }
    if composed:
        commands["composed"] = [*module[:2], f"{module[2]}composed", *to_arguments(options)]
    return commands


def graph_environment(
    environment: Mapping[str, str] | None = None, local: bool = True, recorded: bool = False
) -> dict[str, str]:
    """The environment of the nodes.

    Args:
        environment: to begin with; by default this process's.
        local: not discovered beyond this machine unless asked for. The drivers of an arm and
            its cameras may run on others.
        recorded: with more room for messages on their way, so that none is lost.
    """
    environment = dict(os.environ if environment is None else environment)
    if local:
        environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if recorded:
        profiles = str(share_path("config/fastdds/recording.xml"))
        environment.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", profiles)
    environment.setdefault("RCUTILS_COLORIZED_OUTPUT", "0")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    # small models on few cores: threads would only wait for each other
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("LP_NUM_THREADS", "1")
    return environment


def main() -> int:
    """Console entry."""
    parser = argparse.ArgumentParser(prog="up", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
