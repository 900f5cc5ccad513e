"""Calls of services whose answer may be lost, and a request that many make."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.parameter import Parameter

ASK_AGAIN = 2.0
"""Wait for an answer before the request is sent again [s]."""


def call_repeatedly(
    client: Client, request: Any, spin: Callable[[str], None], again: float = ASK_AGAIN
) -> Any:
    """The answer to a request, which is sent again while none comes.

    A server drops its answer where it has not discovered the client's reader yet (a race known in
    Fast DDS: ros2/rmw_fastrtps, #842), as happens while a whole graph starts.

    Args:
        client: of the service.
        request: what may be done twice without harm.
        spin: spins the client's node for a moment, and raises when it has waited too long for
            what it is told.
        again: wait before the request is sent again [s]; infinite to send it once.
    """
    while not client.service_is_ready():
        spin(f"service {client.srv_name} is not there")
    calls = [client.call_async(request)]
    sent = time.monotonic()
    while not any(call.done() for call in calls):
        if time.monotonic() >= sent + again:
            calls.append(client.call_async(request))
            sent = time.monotonic()
        spin(f"service {client.srv_name} does not answer")
    for call in calls:
        client.remove_pending_request(call)
    return next(call.result() for call in calls if call.done())


def parameters_request(values: Mapping[str, Any]) -> SetParameters.Request:
    """The request that sets parameters, by their names."""
    parameters = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
    return SetParameters.Request(parameters=parameters)
