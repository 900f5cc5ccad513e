"""Commands: what is refused, what is carried out, and for whom."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moe_robot_control.console.desk import Desk, Viewer
from moe_robot_control.console.lease import SILENCE
from moe_robot_control.console.robot import Wish
from moe_robot_control.policies.spaces import SKILLS

from .fake_robot import FakeRobot
from .test_lease import Clock

OPERATOR_COMMANDS: tuple[dict[str, Any], ...] = (
    {"do": "drive", "axes": [1, 0, 0], "seen": 100.0},
    {"do": "let_go"},
    {"do": "release"},
    {"do": "set_mode", "mode": "teleop"},
    {"do": "start_episode", "scenario": 3},
    {"do": "record", "action": "start"},
    {"do": "answer_request", "grant": True},
)


class Room:
    """A desk, its robot and time."""

    def __init__(self, folder: Path) -> None:
        self.robot = FakeRobot(folder)
        self.clock = Clock()
        self.desk = Desk(self.robot, self.clock)

    def say(self, viewer: Viewer, message: dict[str, Any] | str) -> dict[str, Any]:
        text = message if isinstance(message, str) else json.dumps(message)
        return asyncio.run(self.desk.handle(viewer, text))

    def operator(self) -> Viewer:
        viewer = self.desk.join()
        assert self.say(viewer, {"do": "take_control"})["ok"]
        return viewer

    def wish(self, viewer: Viewer, **fields: Any) -> Wish:
        message = {"do": "drive", "seen": self.clock.now} | fields
        answer = self.say(viewer, message)
        assert answer["ok"], answer
        return self.robot.calls[-1][1]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.parametrize("command", OPERATOR_COMMANDS, ids=lambda command: command["do"])
def test_who_only_watches_commands_nothing(room: Room, command: dict[str, Any]) -> None:
    viewer = room.desk.join()
    answer = room.say(viewer, command | {"id": 7})
    assert (answer["ok"], answer["answer"], answer["text"]) == (False, 7, "take control first")
    other = room.operator()
    room.say(other, {"do": "name", "name": "Ana"})
    assert room.say(viewer, command)["text"] == "Ana operates the robot"
    assert room.robot.calls == []


def test_anybody_may_stop_and_only_the_operator_releases(room: Room) -> None:
    operator, viewer = room.operator(), room.desk.join()
    assert room.say(viewer, {"do": "emergency_stop"})["ok"]
    assert not room.say(viewer, {"do": "release"})["ok"]
    assert room.robot.stopped
    assert room.say(operator, {"do": "release"})["ok"]
    assert not room.robot.stopped


def test_commands_reach_the_robot(room: Room) -> None:
    operator = room.operator()
    room.say(operator, {"do": "name", "name": " Ana "})
    for message in (
        {"do": "set_mode", "mode": "teleop"},
        {"do": "start_episode", "scenario": 3, "seed": 12},
        {"do": "start_episode", "skill": "unbox", "seed": 1},
        {"do": "record", "action": "start", "skill": "unbox"},
        {"do": "record", "action": "success"},
    ):
        assert room.say(operator, message)["ok"]
    assert room.robot.calls == [
        ("set_mode", "teleop"),
        ("start_episode", 3, None, 12, "Ana"),
        ("start_episode", None, "unbox", 1, "Ana"),
        ("record", "start", {"operator": "Ana", "skill": "unbox"}),
        ("record", "success", {}),
    ]


def test_the_robots_refusal_is_told(room: Room) -> None:
    operator = room.operator()
    room.robot.fault = "no answer of velocity_commander"
    answer = room.say(operator, {"do": "set_mode", "mode": "idle", "id": "x"})
    assert answer == {"answer": "x", "ok": False, "text": "no answer of velocity_commander"}


def test_steering_in_metres_per_second(room: Room) -> None:
    operator = room.operator()
    wish = room.wish(operator, axes=[1, 0, 0], speed=0.5, gripper=0.25)
    assert wish.velocity == pytest.approx((0.125, 0.0, 0.0))
    assert wish.gripper == pytest.approx(0.02)
    assert wish.weights == {}
    assert room.wish(operator, axes=[0, -0.5, 0]).velocity == pytest.approx((0, -0.125, 0))
    assert room.wish(operator, axes=[0, 0, 1], fine=True).velocity == pytest.approx((0, 0, 0.05))
    assert room.wish(operator, axes=[0, 0, 0]).gripper is None


def test_diagonals_are_no_faster(room: Room) -> None:
    wish = room.wish(room.operator(), axes=[1, -1, 1])
    assert np.linalg.norm(wish.velocity) == pytest.approx(room.robot.max_speed)


def test_weighing_experts(room: Room) -> None:
    wish = room.wish(room.operator(), experts=["unbox", "push_button", "unbox"])
    assert wish.velocity is None
    assert wish.weights == {"unbox": 0.5, "push_button": 0.5}


def test_late_steering_is_dropped(room: Room) -> None:
    operator = room.operator()
    drive = {"do": "drive", "axes": [1, 0, 0], "seen": room.clock.now}
    room.clock.now += 0.31
    answer = room.say(operator, drive)
    assert not answer["ok"] and "too late" in answer["text"]
    # news of a server that has been restarted since
    assert not room.say(operator, drive | {"seen": room.clock.now + 5.0})["ok"]
    assert room.robot.calls == []


@pytest.mark.parametrize("way", ["close", "silence", "give_control", "hand over"])
def test_whoever_loses_control_lets_go(room: Room, way: str) -> None:
    operator, other = room.operator(), room.desk.join()
    room.wish(operator, axes=[1, 0, 0])
    if way == "close":
        room.desk.leave(operator)
    elif way == "silence":
        room.clock.now += SILENCE + 0.1
        assert room.desk.state(other)["operator"] is None
    elif way == "give_control":
        room.say(operator, {"do": "give_control"})
    else:
        room.say(other, {"do": "take_control"})
        room.say(operator, {"do": "answer_request", "grant": True})
        assert room.desk.state(other)["you"]["operates"]
    assert room.robot.calls[-1] == ("let_go",)
    assert not room.say(operator, {"do": "drive", "axes": [1, 0, 0], "seen": room.clock.now})["ok"]
    assert room.robot.calls[-1] == ("let_go",)


def test_letting_go(room: Room) -> None:
    operator = room.operator()
    room.wish(operator, axes=[1, 0, 0])
    assert room.say(operator, {"do": "let_go"})["ok"]
    assert room.robot.calls[-1] == ("let_go",)


def test_asking_for_control(room: Room) -> None:
    ana, ben, cleo = room.operator(), room.desk.join(), room.desk.join()
    room.say(ana, {"do": "name", "name": "Ana"})
    room.say(ben, {"do": "name", "name": "Ben"})
    assert room.say(ben, {"do": "take_control"})["text"] == "asked Ana"
    assert not room.say(cleo, {"do": "take_control"})["ok"]
    state = room.desk.state(ana)
    assert (state["operator"], state["asking"], state["viewers"]) == ("Ana", "Ben", 3)
    assert room.desk.state(ben)["you"] == {"name": "Ben", "operates": False, "asks": True}
    assert room.say(ana, {"do": "answer_request", "grant": False})["text"] == "you keep control"
    assert room.desk.state(ben)["asking"] is None


DRIVE = {"do": "drive", "axes": [0, 0, 0], "seen": 100.0}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("", "not JSON"),
        ("[" * 4000, "not JSON"),
        ("[]", "expected an object"),
        ('{"do": 5}', "expected an object"),
        ({"do": "dance"}, "unknown command"),
        ({"do": "__class__"}, "unknown command"),
        ({"do": "name", "name": "x" * 65}, "name"),
        ({"do": "name", "name": "two\nlines"}, "name"),
        ({"do": "name"}, "name"),
        ({"do": "set_mode", "mode": "fast"}, "mode: expected one of policy, teleop, idle"),
        ({"do": "set_mode"}, "mode"),
        ({"do": "set_mode", "mode": ["policy"]}, "mode"),
        ({"do": "start_episode", "scenario": 8}, "scenario: expected a whole number from 1 to 7"),
        ({"do": "start_episode", "scenario": True}, "scenario"),
        ({"do": "start_episode", "scenario": 2.5}, "scenario"),
        ({"do": "start_episode", "skill": "juggle"}, "skill: expected one of rotate_door"),
        ({"do": "start_episode", "seed": -1}, "seed"),
        ({"do": "start_episode", "seed": 2**31}, "seed"),
        ({"do": "record", "action": "format"}, "action"),
        ({"do": "record", "action": "start", "skill": "juggle"}, "skill"),
        ({"do": "record", "action": "start", "operator": 5}, "operator"),
        (DRIVE | {"axes": [0, 0]}, "axes: expected 3 numbers"),
        (DRIVE | {"axes": "abc"}, "axes"),
        (DRIVE | {"axes": [0, 0, 1.1]}, "axes: expected a number from -1 to 1"),
        ('{"do": "drive", "axes": [NaN, 0, 0], "seen": 100.0}', "axes"),
        ('{"do": "drive", "axes": [1e999, 0, 0], "seen": 100.0}', "axes"),
        (DRIVE | {"axes": [10**400, 0, 0]}, "axes"),
        (DRIVE | {"axes": [True, 0, 0]}, "axes"),
        (DRIVE | {"speed": 2}, "speed"),
        (DRIVE | {"fine": 1}, "fine: expected true or false"),
        (DRIVE | {"gripper": -0.1}, "gripper"),
        (DRIVE | {"experts": []}, "experts"),
        (DRIVE | {"experts": ["juggle"]}, "experts"),
        ({"do": "drive", "axes": [0, 0, 0]}, "seen"),
        ({"do": "answer_request", "grant": "yes"}, "grant"),
        ({"do": "answer_request", "grant": True}, "nobody asks"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    room: Room, message: dict[str, Any] | str, complaint: str
) -> None:
    answer = room.say(room.operator(), message)
    assert not answer["ok"]
    assert complaint in answer["text"]
    assert "\n" not in answer["text"]
    assert room.robot.calls == []


def test_the_modes_are_those_of_the_commander() -> None:
    from moe_robot_control.console import commands
    from moe_robot_control.control.arbitration import MODES

    assert commands.MODES == MODES
    assert set(FakeRobot.experts) == set(SKILLS)
