"""Whether anybody hears what a publisher sends."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.publisher import Publisher

PATIENCE = 1.0
"""Longest wait for a subscriber's first acknowledgement [s]: one that has died never gives it."""


class Audience:
    """Whether a reliable publisher's subscribers hear it.

    Discovery has two sides: a subscriber that a publisher knows of may not know the publisher yet,
    and gets nothing. Who then begins to send speeds, beginning at rest, is first heard at full
    speed.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._count = 0
        self._since: float | None = None

    def hears(self, now: float, at_rest: bool) -> bool:
        """Whether all subscribers have acknowledged something; to be asked before what moves.

        Args:
            now: steady time [s].
            at_rest: whether one may wait for those who are new.
        """
        count = self._publisher.get_subscription_count()
        if count > self._count and at_rest:
            self._since = now
        elif self._since is not None and now > self._since:
            # at least one message was sent to them in between
            waited = now - self._since > PATIENCE
            if waited or self._publisher.wait_for_all_acked(Duration()):
                self._since = None
        self._count = count
        return count > 0 and self._since is None
