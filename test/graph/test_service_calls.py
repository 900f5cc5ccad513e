"""Requests are sent again while no answer comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from moe_robot_control.nodes.service_calls import call_repeatedly


class Forgetful(Node):
    """Its service gives no answer to the first requests."""

    def __init__(self, context: rclpy.Context, losses: int) -> None:
        super().__init__("forgetful", context=context)
        self.requests = 0
        self._losses = losses
        self.service = self.create_service(Trigger, "answer", self._answer)
        send = self.service.send_response
        self.service.send_response = lambda *x: send(*x) if self.requests > losses else None

    def _answer(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.requests += 1
        response.success = True
        return response


@pytest.fixture
def context(domain: int) -> Iterator[rclpy.Context]:
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.mark.parametrize("losses", [0, 1, 3])
def test_a_lost_answer_is_asked_for_again(context: rclpy.Context, losses: int) -> None:
    server, node = Forgetful(context, losses), Node("asking", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(server)
    executor.add_node(node)
    client: Client = node.create_client(Trigger, "answer")
    again = 0.1 if losses else 60.0
    answer = call_repeatedly(
        client, Trigger.Request(), lambda _: executor.spin_once(timeout_sec=0.01), again
    )
    assert answer.success
    assert server.requests > losses


def test_it_gives_up_when_told(context: rclpy.Context) -> None:
    node = Node("asking", context=context)
    client = node.create_client(Trigger, "nobody")

    def give_up(complaint: str) -> None:
        raise TimeoutError(complaint)

    with pytest.raises(TimeoutError, match="service nobody is not there"):
        call_repeatedly(client, Trigger.Request(), give_up)
