"""What the lifecycle nodes share."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._parameters import Parameters


class ManagedNode(LifecycleNode):
    """A lifecycle node that can also start itself.

    Subclasses declare their parameters in `__init__`, load what they need in `set_up`, drop
    it in `tear_down`, and publish only while `is_active`.
    """

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, **options)
        self.parameters = Parameters(self)
        self.is_active = False
        self._kept: set[object] = set()
        self._failure: MoeRobotControlError | None = None
        self.parameters.declare(
            "autostart",
            True,
            "Configure and activate at start, without a lifecycle manager.",
            fixed=True,
        )

    def start(self) -> None:
        """Configure and activate, if parameter `autostart` says so.

        Raises:
            MoeRobotControlError: what `set_up` raised.
        """
        if not self.parameters["autostart"]:
            return
        if self.trigger_configure() is not TransitionCallbackReturn.SUCCESS:
            raise self._failure or MoeRobotControlError("configuration failed")
        self.trigger_activate()

    def set_up(self) -> None:
        """Load models and create subscriptions. Raises MoeRobotControlError."""
        raise NotImplementedError

    def tear_down(self) -> None:
        """Undo `set_up`: destroy the subscriptions and publishers made in it."""
        for subscription in set(self.subscriptions) - self._kept:
            # the clock is subscribed to when use_sim_time is set, whenever that is
            if not subscription.topic_name.endswith("/clock"):
                self.destroy_subscription(subscription)
        for publisher in set(self.publishers) - self._kept:
            self.destroy_publisher(publisher)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._kept = {*self.subscriptions, *self.publishers}
        try:
            self.set_up()
        except MoeRobotControlError as error:
            self._failure = error
            self.tear_down()
            if not self.parameters["autostart"]:
                self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.tear_down()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.is_active = False
        self.tear_down()
        return super().on_shutdown(state)
