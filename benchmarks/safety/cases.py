"""The faults: what is done to which part of the graph, and what must come of it."""

from __future__ import annotations

from safety.acts import (
    action_too_old,
    altered,
    at_once,
    driver_timeout,
    frozen,
    in_policy_mode,
    joints_too_old,
    killed,
    light_action_too_old,
    nothing,
    operate,
    operate_alone,
    operator_too_old,
    parameter,
    press,
    recalibrate,
    refused,
    relayed,
    release,
    renormalised,
    said_by,
    still_stopped_by,
    stranger,
    weights_too_old,
)
from safety.corruptions import CORRUPTIONS
from safety.policies import ASLEEP, HEAVY, LIGHT, WEIGHTS
from safety.rig import ARM, COMMANDER, GATE, Rig
from safety.trial import EITHER, GOES_ON, STOPS, Act, Case, Detectable

JOINTS, GATES, EXPERT, OPERATOR = "joint", "gate", f"expert.*{HEAVY}", "operator"
STOPPED = "emergency stop"


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
        case("stop_by_topic", "emergency stop by topic", (press(True), release), at_once, STOPPED),
        case(
            "stop_outlasts_topic",
            "emergency stop; false on its topic does not release it",
            (stop, still_stopped_by(press(False))),
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
