"""When faults could be known, and what can be done to a running graph."""

from __future__ import annotations

import time

from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.policies.spaces import SKILLS
from safety.policies import LIGHT, WEIGHTS
from safety.rig import COMMANDER, Rig, RigError
from safety.trial import DRIVER_TIMEOUT, GOES_ON, STOPS, Act, Detectable, Trial, commander_parameter

# -- when a fault could be known -----------------------------------------------------------------


def at_once(trial: Trial) -> int:
    """As soon as it happened."""
    return trial.injected


def max_age(trial: Trial) -> float:
    """Of weights and actions [s]."""
    return commander_parameter(trial.rig, "max_age")


def joints_age(trial: Trial) -> float:
    """Of joint states [s]."""
    return commander_parameter(trial.rig, "joint_state_deadline")


def joints_too_old(trial: Trial) -> int:
    """When the last good joint states grew too old."""
    return trial.outlived("joint_states", joints_age(trial))


def weights_too_old(trial: Trial) -> int:
    """When the last weights did."""
    return trial.outlived("weights", max_age(trial))


def action_too_old(trial: Trial) -> int:
    """When the last whole action of the heavy expert did."""
    age = max_age(trial)
    return min(trial.outlived("twist", age), trial.outlived("gripper", age))


def light_action_too_old(trial: Trial) -> int:
    """When the last action of the light expert did."""
    return trial.outlived("light", max_age(trial))


def operator_too_old(trial: Trial) -> int:
    """When the operator's last wish did."""
    return trial.outlived("operator", commander_parameter(trial.rig, "operator_deadline"))


def said_by(frame: str) -> Detectable:
    """When an operator first sent a message of this frame."""

    def first(trial: Trial) -> int:
        heard = trial.rig.heard["operator"]
        return min(h.sent for h in heard if h.frame == frame and h.sent >= trial.injected)

    return first


def altered(route: str, mode: str) -> Detectable:
    """When the first bad message had been sent on."""
    return lambda trial: trial.rig.time_of_alteration(route, mode)


def driver_timeout(trial: Trial) -> int:
    """When the arm had had no command for too long."""
    last = max(command.sent for command in trial.rig.commands if command.sent <= trial.still)
    return last + round(DRIVER_TIMEOUT * 1e9)


# -- what can be done ----------------------------------------------------------------------------


def relayed(route: str, mode: str) -> tuple[Act, Act]:
    """Let the relay alter a route."""
    return lambda rig: rig.relay(route, mode), lambda rig: rig.relay(route, "pass")


def killed(node: str) -> tuple[Act, Act]:
    """Kill a node; start it again."""
    return lambda rig: rig.processes.kill(node), lambda rig: rig.restart(node)


def frozen(node: str) -> tuple[Act, Act]:
    """Freeze a node; let it go on."""
    return lambda rig: rig.processes.freeze(node), lambda rig: rig.processes.thaw(node)


def parameter(node: str, name: str, value: object, before: object) -> tuple[Act, Act]:
    """Set a parameter; set it back."""
    return lambda rig: rig.set(node, **{name: value}), lambda rig: rig.set(node, **{name: before})


def nothing(rig: Rig) -> None:
    """Do nothing."""


def renormalised(rig: Rig) -> str:
    """What a missing light expert must lead to, by the share that may be missing."""
    share = commander_parameter(rig, "missing_share")
    return GOES_ON if WEIGHTS[LIGHT] <= share else STOPS


def operate(rig: Rig) -> None:
    """Let an operator move the arm."""
    rig.set("operator_1", holding=True)


def operate_alone(rig: Rig) -> None:
    """Let an operator move the arm, and nobody else."""
    rig.trigger(f"{COMMANDER}/set_mode/teleop")
    operate(rig)


def press(value: bool) -> Act:
    """Say so on topic `emergency_stop`."""

    def act(rig: Rig) -> None:
        rig.stop_button.publish(Bool(data=value))
        rig.pause(5)

    return act


def release(rig: Rig) -> None:
    """Release the emergency stop."""
    rig.trigger(f"{COMMANDER}/release")


def still_stopped_by(act: Act) -> Act:
    """Do what must not release an emergency stop; then release it."""

    def attempt(rig: Rig) -> None:
        act(rig)
        since = time.time_ns()
        rig.until_still(since, 30)
        release(rig)

    return attempt


def stranger(rig: Rig) -> None:
    """Somebody else, too, publishes weights, of the stamps of the gate's but without meaning."""
    publisher = rig.node.create_publisher(JointState, "gate/weights", SENSOR)
    rig.until(lambda: publisher.get_subscription_count() >= 2, "listener to gate/weights")
    for _ in range(40):
        message = JointState(name=list(SKILLS), position=[float("nan")] * len(SKILLS))
        message.header.stamp = rig.node.get_clock().now().to_msg()
        publisher.publish(message)
        rig.pause(3)
    rig.node.destroy_publisher(publisher)


def in_policy_mode(rig: Rig) -> None:
    """A commander that has been started anew moves nothing until it is told to."""
    rig.trigger(f"{COMMANDER}/set_mode/policy")


def refused(rig: Rig) -> None:
    """Try to set a mode that does not exist."""
    try:
        rig.set(COMMANDER, mode="waltz")
    except RigError:
        return
    raise RigError("mode 'waltz' was accepted")


def recalibrate(route: str, mode: str) -> Act:
    """Alter a route, and let perception read its calibration again."""

    def act(rig: Rig) -> None:
        rig.relay(route, mode)
        rig.call(Trigger, "perception/recalibrate")

    return act
