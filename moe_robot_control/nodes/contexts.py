"""An rclpy context for nodes inside a process that is no node itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy


@contextmanager
def context_of(domain: int | None) -> Iterator[rclpy.Context]:
    """A context in a ROS domain, which leaves the process's arguments and signals alone.

    None: the domain of the environment.
    """
    context = rclpy.Context()
    rclpy.init(
        args=[],
        context=context,
        domain_id=domain,
        signal_handler_options=rclpy.SignalHandlerOptions.NO,
    )
    try:
        yield context
    finally:
        context.try_shutdown()
