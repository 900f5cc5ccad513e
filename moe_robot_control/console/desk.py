"""The desk at which viewers meet the robot: who may do what, and the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from moe_robot_control.console import commands
from moe_robot_control.console.commands import CommandError
from moe_robot_control.console.lease import Lease
from moe_robot_control.console.robot import Robot
from moe_robot_control.errors import MoeRobotControlError

MAX_DELAY = 0.3
"""Steering that a page sent on older news than this is late and no longer counts [s]."""


class Viewer:
    """Somebody's open page.

    Attributes:
        number: unlike any other viewer's.
        name: as he calls himself.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"viewer {number}"


class Desk:
    """Carries out viewers' commands.

    Any viewer may stop the robot; everything else is for the operator alone. Steering counts only
    if it answers recent news: what was held up on its way, and arrives in a burst, is dropped.
    """

    def __init__(
        self, robot: Robot, clock: Callable[[], float] = monotonic, max_delay: float = MAX_DELAY
    ) -> None:
        """Open a desk without viewers; see `MAX_DELAY`."""
        self._robot = robot
        self._clock = clock
        self._max_delay = max_delay
        self._lease = Lease(self._lost, clock=clock)
        self._viewers: dict[int, Viewer] = {}
        self._joined = 0
        self._driving = False
        anybody: dict[str, Callable[[Viewer, dict[str, Any]], Awaitable[str]]] = {
            "name": self._name,
            "alive": self._alive,
            "take_control": self._take_control,
            "give_control": self._give_control,
            "emergency_stop": self._emergency_stop,
        }
        operator: dict[str, Callable[[Viewer, dict[str, Any]], Awaitable[str]]] = {
            "answer_request": self._answer_request,
            "release": self._release,
            "set_mode": self._set_mode,
            "start_episode": self._start_episode,
            "record": self._record,
            "drive": self._drive,
            "let_go": self._let_go,
        }
        self._commands = anybody | operator
        self._for_operator = frozenset(operator)

    def join(self) -> Viewer:
        """A new viewer."""
        self._joined += 1
        viewer = self._viewers[self._joined] = Viewer(self._joined)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """A viewer's page was closed: an operator lets go of the robot and of control."""
        self._viewers.pop(viewer.number, None)
        self._lease.leave(viewer.number)

    def state(self, viewer: Viewer) -> dict[str, Any]:
        """What one viewer's page shows."""
        operator, asking = self._lease.operator, self._lease.asking
        return self._robot.state() | {
            "now": self._clock(),
            "viewers": len(self._viewers),
            "operator": self._name_of(operator),
            "asking": self._name_of(asking),
            "you": {
                "name": viewer.name,
                "operates": operator == viewer.number,
                "asks": asking == viewer.number,
            },
        }

    async def handle(self, viewer: Viewer, message: str) -> dict[str, Any]:
        """Carry out a viewer's command.

        Returns:
            `{"answer": the command's id, "ok": bool, "text": what to tell the viewer}`.
        """
        answer: dict[str, Any] = {"answer": None, "ok": False}
        try:
            command = commands.parse(message)
            answer["answer"] = command.get("id")
            do = self._commands.get(command["do"])
            if do is None:
                raise CommandError(f"unknown command: expected one of {', '.join(self._commands)}")
            if command["do"] in self._for_operator and self._lease.operator != viewer.number:
                raise CommandError(self._why_not())
            answer["text"] = await do(viewer, command)
            answer["ok"] = True
        except MoeRobotControlError as error:
            answer["text"] = str(error)
        return answer

    def _why_not(self) -> str:
        operator = self._name_of(self._lease.operator)
        return f"{operator} operates the robot" if operator else "take control first"

    def _name_of(self, number: int | None) -> str | None:
        viewer = self._viewers.get(number) if number is not None else None
        return viewer.name if viewer is not None else None

    def _lost(self, _: int) -> None:
        if self._driving:
            self._driving = False
            self._robot.let_go()

    # -- commands of anybody -------------------------------------------------------------------

    async def _name(self, viewer: Viewer, command: dict[str, Any]) -> str:
        name = commands.text("name", command.get("name"))
        viewer.name = name or f"viewer {viewer.number}"
        return f"you are {viewer.name}"

    async def _alive(self, viewer: Viewer, _: dict[str, Any]) -> str:
        self._lease.hear(viewer.number)
        return ""

    async def _take_control(self, viewer: Viewer, _: dict[str, Any]) -> str:
        if self._lease.take(viewer.number):
            return "you operate the robot"
        if self._lease.asking != viewer.number:
            raise CommandError("somebody else is already asking for control")
        return f"asked {self._name_of(self._lease.operator)}"

    async def _give_control(self, viewer: Viewer, _: dict[str, Any]) -> str:
        self._lease.leave(viewer.number)
        return "you watch"

    async def _emergency_stop(self, _viewer: Viewer, _: dict[str, Any]) -> str:
        self._driving = False
        return await self._robot.emergency_stop()

    # -- commands of the operator --------------------------------------------------------------

    async def _answer_request(self, viewer: Viewer, command: dict[str, Any]) -> str:
        grant = commands.flag(command, "grant")
        if not self._lease.answer(viewer.number, grant):
            raise CommandError("nobody asks for control")
        return "you watch" if grant else "you keep control"

    async def _release(self, _viewer: Viewer, _: dict[str, Any]) -> str:
        return await self._robot.release()

    async def _set_mode(self, _: Viewer, command: dict[str, Any]) -> str:
        return await self._robot.set_mode(commands.mode(command))

    async def _start_episode(self, viewer: Viewer, command: dict[str, Any]) -> str:
        start = commands.start(command)
        return await self._robot.start_episode(start.scenario, start.skill, start.seed, viewer.name)

    async def _record(self, viewer: Viewer, command: dict[str, Any]) -> str:
        record = commands.record(command)
        details = record.details
        if record.action == "start":
            details = {"operator": viewer.name} | {k: v for k, v in details.items() if v}
        return await self._robot.record(record.action, details)

    async def _drive(self, viewer: Viewer, command: dict[str, Any]) -> str:
        wanted = commands.drive(command, self._robot.experts)
        delay = self._clock() - wanted.seen
        if not 0.0 <= delay <= self._max_delay:
            raise CommandError(f"too late: steered on news {delay:.2f} s old")
        self._lease.hear(viewer.number)
        self._driving = True
        self._robot.drive(wanted.wish(self._robot.max_speed, self._robot.max_opening))
        return ""

    async def _let_go(self, _viewer: Viewer, _: dict[str, Any]) -> str:
        self._driving = False
        self._robot.let_go()
        return ""
