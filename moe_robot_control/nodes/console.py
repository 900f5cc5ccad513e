"""The operator's web page as a node, and `moe-robot-control console`."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from rclpy.node import Node

from moe_robot_control.console.access import Access, AccessError, is_loopback, read_token
from moe_robot_control.console.background import BackgroundServer, certificate_context
from moe_robot_control.console.server import Console
from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.graph import HOST, PORT
from moe_robot_control.nodes._graph_robot import GraphRobot
from moe_robot_control.nodes._parameters import Parameters
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.clock import follow_simulated_clock
from moe_robot_control.share import share_path

TOKEN_VARIABLE = "MOE_ROBOT_CONTROL_TOKEN"
"""Environment variable with the token; its value is not shown in process lists or parameters."""


class ConsoleNode(Node):
    """Serves the console's page. docs/console.md tells of it.

    Publishes `teleop/twist`, `teleop/gripper` and `teleop/weights` while an operator holds the
    deadman, and `emergency_stop`; calls the services of commander, bench and recorder. On this
    machine alone it needs no token; beyond, it takes one from a file or the environment, or makes
    one and tells it in its log.
    """

    def __init__(self, name: str = "console", **options: object) -> None:
        super().__init__(name, **options)
        self._server: BackgroundServer | None = None
        self.parameters = parameters = Parameters(self)
        declare = parameters.declare
        declare("arm", "panda", "Name in config/arms, or path of a YAML file.", fixed=True)
        declare("host", HOST, "Address to listen on; 0.0.0.0: all of this machine.", fixed=True)
        declare("port", PORT, "To listen on; 0: any that is free.", 0, 65535, fixed=True)
        declare("token_file", "", "Holds the token; empty: environment's or new.", fixed=True)
        declare("certificate", "", "PEM file; https instead of http.", fixed=True)
        declare("private_key", "", "PEM file of the certificate.", fixed=True)
        declare("recordings", "data/recordings", "Of episodes, without recorder.", fixed=True)
        context = None
        if parameters["certificate"] or parameters["private_key"]:
            context = certificate_context(parameters["certificate"], parameters["private_key"])
        access = Access.of(parameters["host"], self._token())
        recordings = Path(parameters["recordings"]).expanduser().resolve()
        robot = GraphRobot(self, ArmConfig.load(parameters["arm"]), recordings)
        console = Console(robot, access)
        host = parameters["host"]
        self._server = BackgroundServer(console.app, host, parameters["port"], context)
        scheme = "http" if context is None else "https"
        shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
        shown = f"[{shown}]" if ":" in shown else shown
        query = f"?token={access.token}" if access.token else ""
        self.get_logger().info(f"open {scheme}://{shown}:{self._server.port}/{query}")
        if context is None and not is_loopback(host):
            self.get_logger().warning(
                "http: others on the network can read the token; parameters 'certificate' and "
                "'private_key' make it https"
            )

    def _token(self) -> str:
        path = self.parameters["token_file"]
        if path:
            return read_token(path)
        token = os.environ.get(TOKEN_VARIABLE, "")
        try:
            Access.of("", token)
        except AccessError as error:
            raise AccessError(f"{TOKEN_VARIABLE}: {error}") from error
        return token

    def close(self) -> None:
        """End all connections; whoever drives lets go."""
        if self._server is not None:
            self._server.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `moe-robot-control console`."""
    parser.add_argument("--host", default=HOST, help="address to listen on; 0.0.0.0: all")
    parser.add_argument("--port", type=int, default=PORT, help="0: any that is free")
    parser.add_argument("--token-file", default="", help=f"else {TOKEN_VARIABLE}, else a new token")
    parser.add_argument("--certificate", default="", help="PEM file: https instead of http")
    parser.add_argument("--private-key", default="", help="PEM file of the certificate")
    parser.add_argument("--recordings", default="data/recordings", help="folder of episodes")
    parser.add_argument("--arm", default="panda", help="name in config/arms, or a YAML file")
    parser.add_argument("--namespace", default="", help="of the graph")
    parser.add_argument(
        "--network", action="store_true", help="the graph runs on another machine, too"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve the page of a graph until Ctrl-C."""
    if not arguments.network:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    argv = ["console", "--ros-args", "--params-file", str(share_path("config/console.yaml"))]
    argv += ["-p", f"port:={arguments.port}"]
    for name in ("host", "token_file", "certificate", "private_key", "recordings", "arm"):
        quoted = getattr(arguments, name).replace("'", "''")
        argv += ["-p", f"{name}:='{quoted}'"]
    if arguments.namespace:
        argv += ["-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    return run_nodes([_build], "console", argv)


def _build() -> ConsoleNode:
    """The node, on the simulation's clock where there is one."""
    node = ConsoleNode()
    follow_simulated_clock(node)
    return node


def main() -> int:
    """Console entry."""
    return run_nodes([ConsoleNode], "console")


if __name__ == "__main__":
    sys.exit(main())
