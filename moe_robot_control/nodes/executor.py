"""An executor for many nodes in one process."""

from __future__ import annotations

import time

from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription
from rclpy.timer import Timer

SERVICE_PERIOD = 0.05
"""How often services, clients and events are looked after [s]."""
_BURST = 50
"""Most waits in a row for messages alone in `spin_some`."""


class LeanExecutor(SingleThreadedExecutor):
    """Waits for messages and timers; looks after everything else 20 times a second.

    A service among a node's `urgent_services`, if it has that attribute, is looked after at once.

    rclpy's executor enters every entity of every node into every wait. Eleven nodes have some
    500 (six parameter services and a dozen events each), of which a tick concerns three: the
    waits would take most of the time.
    """

    _asked_to_stop = False

    def stop_spinning(self) -> None:
        """Let `spin` return after the callback under way; may be called by a signal handler."""
        self._asked_to_stop = True

    def spin(self) -> None:
        """Execute callbacks until shutdown, or until `stop_spinning`."""
        look_after = time.monotonic()
        while self._context.ok() and not self._is_shutdown and not self._asked_to_stop:
            now = time.monotonic()
            if now >= look_after:
                self._serve_everything()
                look_after = time.monotonic() + SERVICE_PERIOD
            self._serve_messages(max(look_after - time.monotonic(), 0.0))

    def spin_some(self, timeout: float) -> None:
        """Wait for at most `timeout` [s] and execute what is due."""
        self._serve_everything()
        for _ in range(_BURST):
            if not self._serve_messages(timeout):
                break
            timeout = 0.0

    def _serve_everything(self) -> None:
        try:
            while True:
                task, _, _ = self.wait_for_ready_callbacks(timeout_sec=0.0)
                task()
                task.result()
        except (TimeoutException, ShutdownException):
            pass

    def _serve_messages(self, timeout: float) -> bool:
        nodes = self.get_nodes()
        subscriptions = [s for node in nodes for s in node.subscriptions]
        timers = [(timer, node) for node in nodes for timer in node.timers]
        services = [s for node in nodes for s in getattr(node, "urgent_services", ())]
        guards = [guard for guard in (self._guard, self._sigint_gc) if guard is not None]
        with self._context.handle:
            wait_set = _rclpy.WaitSet(
                len(subscriptions),
                len(guards),
                len(timers),
                0,
                len(services),
                0,
                self._context.handle,
            )
            wait_set.clear_entities()
            try:
                for subscription in subscriptions:
                    wait_set.add_subscription(subscription.handle)
                for timer, _ in timers:
                    wait_set.add_timer(timer.handle)
                for service in services:
                    wait_set.add_service(service.handle)
                for guard in guards:
                    wait_set.add_guard_condition(guard.handle)
            except InvalidHandle:
                return False  # destroyed by another thread: look again
            wait_set.wait(int(timeout * 1e9))
            if not self._context.ok():
                raise ExternalShutdownException()
            messages = set(wait_set.get_ready_entities("subscription"))
            due = set(wait_set.get_ready_entities("timer"))
            urgent = bool(wait_set.get_ready_entities("service"))
        if urgent:
            self._serve_everything()
        for timer, node in timers:
            if _pointer(timer) in due and timer.handle.is_timer_ready():
                task = self._make_handler(timer, node, self._take_timer)
                task()
                task.result()
                with self._tasks_lock:
                    self._tasks = [item for item in self._tasks if item[0] is not task]
        for subscription in subscriptions:
            if _pointer(subscription) in messages:
                _take(subscription)
        return bool(messages or due or urgent)


def _pointer(entity: Subscription | Timer) -> int | None:
    try:
        return entity.handle.pointer
    except InvalidHandle:
        return None  # destroyed by an earlier callback


def _take(subscription: Subscription) -> None:
    try:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    except InvalidHandle:
        return
    if taken is None:
        return
    if subscription._callback_type is Subscription.CallbackType.MessageOnly:
        subscription.callback(taken[0])
    else:
        subscription.callback(*taken)
