"""Which observation a command for ros2_control's forward controllers answers."""

from __future__ import annotations

from typing import Any


def answered_stamp(command: Any) -> int | None:
    """The stamp that the label of a command's first dimension tells [ns].

    Args:
        command: a `std_msgs/Float64MultiArray`, of rclpy or decoded from a bag.

    Returns:
        None where the sender told none, as others than our commander do.
    """
    label = command.layout.dim[0].label if command.layout.dim else ""
    return int(label) if label.isdecimal() else None
