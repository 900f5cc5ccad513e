"""The simulation's clock, for nodes that are started beside a running graph."""

from __future__ import annotations

import time

from rclpy.node import Node
from rclpy.parameter import Parameter

DISCOVERY = 2.0
"""Longest wait for a simulation's clock [s]."""


def follow_simulated_clock(node: Node) -> None:
    """Put a node on the simulation's clock where one is published, else leave it on the wall's."""
    deadline = time.monotonic() + DISCOVERY
    while time.monotonic() < deadline:
        if node.count_publishers("/clock"):
            node.set_parameters([Parameter("use_sim_time", value=True)])
            return
        time.sleep(0.05)
