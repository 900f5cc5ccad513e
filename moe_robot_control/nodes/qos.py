"""The three qualities of service of the graph."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Measurements and what is derived from them: only the newest counts."""
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Commands: delivered, newest only."""
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Facts: also for those who join later."""
EVENTS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Diagnostics and markers."""
