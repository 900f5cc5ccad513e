"""A node in the test's own process that talks to the graph under test."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import QoSProfile

from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.nodes.service_calls import call_repeatedly, parameters_request
from moe_robot_control.nodes.up import graph_commands

PATIENCE = 30.0
"""Longest wait for anything [s]."""


class GraphClient:
    """Calls services, reads topics and parameters."""

    def __init__(self, node: Node, executor: LeanExecutor, output: io.StringIO) -> None:
        self.node = node
        self.output = output
        self._executor = executor

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Spin until `condition` is true; returns its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            self._spin(deadline, f"no {what}")
        return value

    def _spin(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{complaint} in {PATIENCE:.0f} s:\n{self.output.getvalue()}")
        self._executor.spin_some(0.02)

    def call(self, kind: Any, name: str, request: Any = None) -> Any:
        """Call a service."""
        client = self.node.create_client(kind, name)
        deadline = time.monotonic() + PATIENCE
        answer = call_repeatedly(
            client, request or kind.Request(), lambda what: self._spin(deadline, what)
        )
        self.node.destroy_client(client)
        return answer

    @contextmanager
    def messages(self, kind: Any, topic: str, qos: QoSProfile = SENSOR) -> Iterator[list[Any]]:
        """The list to which messages of a topic are appended meanwhile."""
        received: list[Any] = []
        subscription = self.node.create_subscription(kind, topic, received.append, qos)
        yield received
        self.node.destroy_subscription(subscription)

    def message(
        self,
        kind: Any,
        topic: str,
        qos: QoSProfile = SENSOR,
        accept: Callable[[Any], bool] = lambda message: True,
    ) -> Any:
        """The next message of a topic that is accepted."""
        with self.messages(kind, topic, qos) as received:
            return self.until(
                lambda: next((m for m in received if accept(m)), None), f"message on {topic}"
            )

    def get(self, node: str, *names: str) -> list[Any]:
        """Values of parameters."""
        request = GetParameters.Request(names=list(names))
        answer = self.call(GetParameters, f"{node}/get_parameters", request)
        return [parameter_value_to_python(value) for value in answer.values]

    def set(self, node: str, **values: Any) -> Any:
        """Set parameters; returns the first result."""
        request = parameters_request(values)
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]


@contextmanager
def running(
    options: GraphOptions, domain: int, environment: dict[str, str], composed: bool = True
) -> Iterator[GraphClient]:
    """A client of a graph that runs meanwhile."""
    output = io.StringIO()
    with ExitStack() as stack:
        commands = graph_commands(options, composed)
        stack.enter_context(ProcessGroup(commands, environment, output, catch_signals=False))
        yield stack.enter_context(client_of(domain, output))


@contextmanager
def client_of(domain: int, output: io.StringIO | None = None) -> Iterator[GraphClient]:
    """A client in a domain."""
    with context_of(domain) as context:
        node = Node("test_client", context=context)
        executor = LeanExecutor(context=context)
        executor.add_node(node)
        try:
            yield GraphClient(node, executor, output or io.StringIO())
        finally:
            node.destroy_node()
