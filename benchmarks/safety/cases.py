"""The faults: what is done to which part of the graph, and what must come of it."""

from __future__ import annotations

import time

from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from moe_robot_control.nodes.qos import SENSOR
from moe_robot_control.policies.spaces import SKILLS
from safety.corruptions import CORRUPTIONS
from safety.policies import ASLEEP, HEAVY, LIGHT, WEIGHTS
from safety.rig import ARM, COMMANDER, GATE, Rig
from safety.trial import (
    DRIVER_TIMEOUT,
    EITHER,
    GOES_ON,
    STOPS,
    Act,
    Case,
    Detectable,
    Trial,
    commander_parameter,
)

JOINTS, GATES, EXPERT, OPERATOR = "joint", "gate", f"expert.*{HEAVY}", "operator"
STOPPED = "emergency stop"

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


def press_topic(value: bool) -> Act:
    """Say so on topic `emergency_stop`."""

    def press(rig: Rig) -> None:
        publisher = rig.node.create_publisher(Bool, "emergency_stop", QoSProfile(depth=1))
        rig.until(publisher.get_subscription_count, "listener to emergency_stop")
        publisher.publish(Bool(data=value))
        rig.pause(20)
        rig.node.destroy_publisher(publisher)

    return press


def press_button(rig: Rig) -> None:
    """Say so on topic `emergency_stop`, after its publisher was found."""
    press_topic(True)(rig)


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


# -- the cases -----------------------------------------------------------------------------------


def case(name: str, injected: str, acts: tuple[Act, Act], detectable: Detectable, *rest, **more):
    """A case, from both acts in one."""
    return Case(name, injected, *acts, detectable, *rest, **more)


def _processes() -> list[Case]:
    cases = []
    for word, act in (("kill", killed), ("freeze", frozen)):
        what = "kill -9" if word == "kill" else "SIGSTOP"
        cases += [
            case(
                f"{word}_expert",
                f"{what} the expert of largest weight",
                act(HEAVY),
                action_too_old,
                EXPERT,
            ),
            case(
                f"{word}_light_expert",
                f"{what} an expert of weight {WEIGHTS[LIGHT]}",
                act(LIGHT),
                light_action_too_old,
                LIGHT,
                renormalised,
            ),
            case(
                f"{word}_sleeping_expert",
                f"{what} an expert that sleeps",
                act(ASLEEP),
                at_once,
                "",
                GOES_ON,
            ),
            case(
                f"{word}_gate",
                f"{what} the manipulation network",
                act(GATE),
                weights_too_old,
                GATES,
            ),
            case(
                f"{word}_commander",
                f"{what} the velocity commander",
                act(COMMANDER),
                driver_timeout,
                by_arm=True,
                after_end=in_policy_mode,
            ),
            case(f"{word}_arm", f"{what} the arm's driver", act(ARM), joints_too_old, JOINTS),
            case(
                f"{word}_perception",
                f"{what} perception",
                act("perception"),
                weights_too_old,
                GATES,
                rig="cameras",
            ),
        ]
    return [
        *cases,
        case(
            "end_commander",
            "SIGTERM the velocity commander, as Ctrl-C of all",
            (lambda rig: rig.processes.end(COMMANDER), lambda rig: rig.restart(COMMANDER)),
            at_once,
            by_arm=True,
            after_end=in_policy_mode,
        ),
    ]


def in_policy_mode(rig: Rig) -> None:
    """A commander that has been started anew moves nothing until it is told to."""
    rig.trigger(f"{COMMANDER}/set_mode/policy")


_SOURCES: dict[str, tuple[str, Detectable, str]] = {
    "joint_states": ("joint_states", joints_too_old, f"{JOINTS}|{GATES}"),
    "weights": ("gate/weights", weights_too_old, GATES),
    "twist": ("an awake expert's twist", action_too_old, EXPERT),
    "gripper": ("an awake expert's gripper", action_too_old, EXPERT),
    "visible": ("objects/visible", weights_too_old, GATES),
    "pose": ("an object's pose", weights_too_old, f"{GATES}|{EXPERT}"),
}
"""Topic, when its silence could be known, and what the commander says of it."""


def _messages() -> list[Case]:
    cases = []
    for route, (topic, too_old, reason) in _SOURCES.items():
        cases.append(
            case(f"drop_{route}", f"{topic}: all dropped", relayed(route, "drop"), too_old, reason)
        )
        if route in ("gripper", "pose"):
            continue
        cases += [
            case(
                f"delay_{route}",
                f"{topic}: all 0.6 s late",
                relayed(route, "delay 0.6"),
                too_old,
                reason,
            ),
            case(
                f"delay_{route}_little",
                f"{topic}: all 50 ms late",
                relayed(route, "delay 0.05"),
                at_once,
                "",
                # an expert that has seen the next image does not act on the last any more
                EITHER if route in ("joint_states", "weights") else GOES_ON,
            ),
            case(
                f"duplicate_{route}",
                f"{topic}: all twice",
                relayed(route, "duplicate"),
                at_once,
                "",
                GOES_ON,
            ),
            case(
                f"reorder_{route}",
                f"{topic}: every other after the one that follows it",
                relayed(route, "reorder"),
                at_once,
                "",
                EITHER,
            ),
        ]
    return cases


def _clock() -> list[Case]:
    cases = []
    for route in ("joint_states", "weights", "twist", "visible"):
        topic, too_old, reason = _SOURCES[route]
        for seconds, word in ((10.0, "ahead"), (-10.0, "back")):
            mode = f"shift {seconds:g}"
            cases.append(
                case(
                    f"clock_{word}_{route}",
                    f"clock of {topic} jumps by {seconds:+g} s",
                    relayed(route, mode),
                    too_old,
                    reason,
                )
            )
    return cases


_BAD = {
    "nan": "NaN in every number",
    "one_nan": "NaN in one number",
    "inf": "infinity in every number",
    "empty": "empty messages",
    "short": "a value less than names",
    "long": "a value more than names",
    "missing": "one name and its value missing",
    "rename": "one name unknown",
    "negative": "a negative value",
    "unnormalised": "sum 2",
    "zero": "all zero",
    "huge": "1e9 in every number",
}


_MUST_STOP = {
    "joint_states": "nan one_nan inf huge empty short long missing rename",
    "weights": "nan one_nan inf empty short long rename negative unnormalised zero",
    "twist": "nan one_nan inf",
    "gripper": "nan inf empty",
}
_MAY_STOP = {"twist": "huge", "visible": "empty short rename", "pose": "nan inf huge empty"}


def _garbage() -> list[Case]:
    cases = []
    for route, kinds in _MUST_STOP.items():
        topic, _, reason = _SOURCES[route]
        for kind in kinds.split():
            cases.append(
                case(
                    f"{kind}_{route}",
                    f"{topic}: {_BAD[kind]}",
                    relayed(route, kind),
                    altered(route, kind),
                    reason,
                )
            )
    for route, kinds in _MAY_STOP.items():
        topic = _SOURCES[route][0]
        for kind in kinds.split():
            cases.append(
                case(
                    f"{kind}_{route}",
                    f"{topic}: {_BAD[kind]}",
                    relayed(route, kind),
                    at_once,
                    "",
                    EITHER,
                )
            )
    cases += [
        case(
            "reorder_joints",
            "joint_states: joints in the opposite order",
            relayed("joint_states", "reverse"),
            at_once,
            "",
            GOES_ON,
        ),
        case(
            "stranger_weights",
            "a stranger publishes NaN weights beside the gate",
            (stranger, nothing),
            at_once,
            "",
            EITHER,
        ),
    ]
    return cases


def _operators() -> list[Case]:
    return [
        case(
            "operator_takes_over",
            "an operator takes over from the policies, and lets go",
            parameter("operator_1", "holding", True, False),
            at_once,
            "moving by the operator",
            GOES_ON,
        ),
        case(
            "two_operators",
            "a second operator holds his button, too",
            parameter("operator_2", "holding", True, False),
            said_by("operator_2"),
            "operators",
            prepare=operate,
        ),
        *(
            case(
                f"{word}_operator",
                f"{what} the operator's console; the policies go on",
                act("operator_1"),
                at_once,
                "moving$",
                EITHER,
                prepare=operate,
            )
            for word, what, act in (("kill", "kill -9", killed), ("freeze", "SIGSTOP", frozen))
        ),
        *(
            case(
                f"{word}_operator_alone",
                f"{what} the operator's console in mode teleop",
                act("operator_1"),
                operator_too_old,
                OPERATOR,
                prepare=operate_alone,
                after_end=operate,
            )
            for word, what, act in (("kill", "kill -9", killed), ("freeze", "SIGSTOP", frozen))
        ),
        *(
            case(
                f"{kind}_operator",
                f"teleop/twist and teleop/gripper: {_BAD[kind]}",
                parameter("operator_1", "garbage", kind, ""),
                said_by(f"operator_1 {kind}"),
                reason,
                expected,
                prepare=operate,
            )
            for kind, reason, expected in (
                ("nan", OPERATOR, STOPS),
                ("inf", OPERATOR, STOPS),
                ("huge", "", EITHER),
                ("empty", "", EITHER),
            )
        ),
    ]


def _stops() -> list[Case]:
    stop: Act = lambda rig: rig.trigger(f"{COMMANDER}/emergency_stop")  # noqa: E731
    return [
        case("stop_by_service", "emergency stop by service", (stop, release), at_once, STOPPED),
        case("stop_by_topic", "emergency stop by topic", (press_button, release), at_once, STOPPED),
        case(
            "stop_outlasts_topic",
            "emergency stop; false on its topic does not release it",
            (stop, still_stopped_by(press_topic(False))),
            at_once,
            STOPPED,
        ),
        case(
            "stop_outlasts_mode",
            "emergency stop; another mode does not release it",
            (stop, still_stopped_by(in_policy_mode)),
            at_once,
            STOPPED,
        ),
        case(
            "stop_against_operator",
            "emergency stop while an operator holds his button",
            (stop, release),
            at_once,
            STOPPED,
            prepare=operate,
        ),
        case(
            "idle",
            "mode idle",
            (lambda rig: rig.trigger(f"{COMMANDER}/set_mode/idle"), in_policy_mode),
            at_once,
            "idle",
        ),
        case(
            "bad_mode",
            "parameter mode set to nonsense",
            (refused, nothing),
            at_once,
            "",
            GOES_ON,
        ),
    ]


def refused(rig: Rig) -> None:
    """Try to set a mode that does not exist."""
    try:
        rig.set(COMMANDER, mode="waltz")
    except Exception:
        return
    raise AssertionError("mode 'waltz' was accepted")


def _losses() -> list[Case]:
    return [
        case(
            f"loss_{share:.0%}".replace("%", ""),
            f"{share:.0%} of the packets lost, each way",
            parameter(ARM, "loss", share, 0.01),
            at_once,
            "",
            EITHER,
        )
        for share in (0.05, 0.2)
    ] + [
        case(
            "loss_all",
            "all packets lost, each way",
            parameter(ARM, "loss", 1.0, 0.01),
            joints_too_old,
            f"{JOINTS}|{GATES}",
        )
    ]


def _images() -> list[Case]:
    common = {"rig": "cameras"}
    silent = [
        ("drop_images", "one camera's images: all dropped", "image", "drop"),
        ("delay_images", "one camera's images: all 0.6 s late", "image", "delay 0.6"),
        ("short_images", "one camera's images: half of the pixels", "image", "short"),
        ("encoding_images", "one camera's images: unknown encoding", "image", "encoding"),
        ("size_images", "one camera's images: another size", "image", "size"),
        ("empty_images", "one camera's images: empty messages", "image", "empty"),
        ("clock_ahead_images", "one camera's clock jumps by +10 s", "image", "shift 10"),
        ("clock_back_images", "one camera's clock jumps by -10 s", "image", "shift -10"),
    ]
    going = [
        ("duplicate_images", "one camera's images: all twice", "image", "duplicate", GOES_ON),
        (
            "reorder_images",
            "one camera's images: every other after the next",
            "image",
            "reorder",
            EITHER,
        ),
        ("noise_images", "one camera's images: pixels without meaning", "image", "noise", EITHER),
    ]
    cases = [
        case(name, text, relayed(route, mode), weights_too_old, GATES, **common)
        for name, text, route, mode in silent
    ]
    cases += [
        case(name, text, relayed(route, mode), at_once, "", expected, **common)
        for name, text, route, mode, expected in going
    ]
    cases += [
        case(
            f"{kind}_camera_info",
            f"camera_info: {_BAD[kind]}, and perception is recalibrated",
            (recalibrate("info", kind), recalibrate("info", "pass")),
            weights_too_old,
            GATES,
            **common,
        )
        for kind in ("nan", "zero", "empty")
    ]
    return cases


def recalibrate(route: str, mode: str) -> Act:
    """Alter a route, and let perception read its calibration again."""

    def act(rig: Rig) -> None:
        rig.relay(route, mode)
        rig.call(Trigger, "perception/recalibrate")

    return act


def _two_arms() -> list[Case]:
    common = {"rig": "two_arms"}

    def beside(act: Act) -> Act:
        def end(rig: Rig) -> None:
            rig.other.check_motion(since=rig.commands[0].sent)
            act(rig)

        return end

    kill, restart = killed(GATE)
    freeze, thaw = frozen(COMMANDER)
    return [
        case(
            "two_arms_kill_gate",
            "two arms in namespaces: kill -9 one's manipulation network; the other moves on",
            (kill, beside(restart)),
            weights_too_old,
            GATES,
            **common,
        ),
        case(
            "two_arms_freeze_commander",
            "two arms in namespaces: SIGSTOP one's commander; the other moves on",
            (freeze, beside(thaw)),
            driver_timeout,
            by_arm=True,
            **common,
        ),
        case(
            "two_arms_stop",
            "two arms in namespaces: emergency stop of one; the other moves on",
            (lambda rig: rig.trigger(f"{COMMANDER}/emergency_stop"), beside(release)),
            at_once,
            STOPPED,
            **common,
        ),
    ]


def all_cases() -> list[Case]:
    """Every case, by rig."""
    cases = [
        *_processes(),
        *_messages(),
        *_clock(),
        *_garbage(),
        *_operators(),
        *_stops(),
        *_losses(),
        *_images(),
        *_two_arms(),
    ]
    names = [item.name for item in cases]
    assert len(set(names)) == len(names), "two cases of one name"
    assert set(_BAD) <= set(CORRUPTIONS)
    return cases
