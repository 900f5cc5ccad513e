"""Whether the arm's driver hears what a publisher sends."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.topic_endpoint_info import TopicEndpointInfo

_PREFIX = 12
"""Bytes of an endpoint's id (GUID of DDS) that tell its participant: here, its process."""


class Audience:
    """Whether the subscribers of a reliable publisher hear it, the arm's driver among them.

    Discovery has two sides: a subscriber that a publisher knows of may not know the publisher yet,
    and gets nothing; or another one, a recorder, is found before the driver is. Who then begins to
    send speeds, beginning at rest, is first heard at full speed.

    The driver is known by its process, which publishes the joint states. Where another one merges
    them, or a subscriber dies before it acknowledged anything, waiting ends after `patience`.
    """

    def __init__(
        self, node: Node, publisher: Publisher, joint_states: str, patience: float
    ) -> None:
        """Watch who listens.

        Args:
            node: that publishes.
            publisher: of commands.
            joint_states: topic of the driver's joint states.
            patience: longest wait after a new subscriber is known [s].
        """
        self._node = node
        self._publisher = publisher
        self._joint_states = joint_states
        self._patience = patience
        self._count = 0
        self._since: float | None = None

    def hears(self, now: float, at_rest: bool) -> bool:
        """Whether one may begin to move; to be asked before what moves.

        Args:
            now: steady time [s].
            at_rest: whether one may wait for those who are new.
        """
        count = self._publisher.get_subscription_count()
        if count > self._count and at_rest:
            self._since = now
        elif self._since is not None and now > self._since:
            # at least one message was sent to them in between
            waited = now - self._since > self._patience
            if waited or (self._publisher.wait_for_all_acked(Duration()) and self._has_driver()):
                self._since = None
        self._count = count
        return count > 0 and self._since is None

    def _has_driver(self) -> bool:
        node = self._node
        measuring = map(_participant, node.get_publishers_info_by_topic(self._joint_states))
        listening = map(
            _participant, node.get_subscriptions_info_by_topic(self._publisher.topic_name)
        )
        return not set(measuring).isdisjoint(listening)


def _participant(endpoint: TopicEndpointInfo) -> bytes:
    return bytes(endpoint.endpoint_gid[:_PREFIX])
