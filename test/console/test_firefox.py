"""The page in a real Firefox, which speaks WebDriver BiDi without further programs."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from moe_robot_control.console.access import Access

from .conftest import serving
from .fake_robot import FakeRobot

PATIENCE = 60.0
"""Longest wait for the whole of it [s]."""
NAMES = ("firefox-esr", "firefox")
DRIVEN = "document.querySelector('#drive').classList.contains('driving')"


class Firefox:
    """A page in a browser without window."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._context = ""

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of WebDriver BiDi; returns its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    async def open(self, url: str) -> None:
        """Show a page."""
        await self.ask("session.new", capabilities={})
        tree = await self.ask("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self.ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        target = {"context": self._context}
        result = await self.ask(
            "script.evaluate", expression=expression, target=target, awaitPromise=True
        )
        assert result["type"] == "success", result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        while not await self.evaluate(expression):
            await asyncio.sleep(0.01)

    async def keys(self, *actions: tuple[str, str]) -> None:
        """Press (keyDown) and let go (keyUp) keys, as a person would."""
        listed = [{"type": kind, "value": value} for kind, value in actions]
        keyboard = {"type": "key", "id": "keyboard", "actions": listed}
        await self.ask("input.performActions", context=self._context, actions=[keyboard])

    async def click(self, selector: str) -> None:
        """Click on an element."""
        found = await self.ask(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": selector},
        )
        origin = {"type": "element", "element": {"sharedId": found["nodes"][0]["sharedId"]}}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": actions}
        await self.ask("input.performActions", context=self._context, actions=[mouse])


async def drive_and_stop(firefox: Firefox, robot: FakeRobot, url: str) -> None:
    await firefox.open(url)
    await firefox.until("!document.body.classList.contains('offline')")
    await firefox.until(
        "document.querySelector('canvas')?.getAttribute('aria-label').includes('vial')"
    )
    await firefox.click("#control")
    await firefox.until("document.activeElement.id === 'drive'")
    await firefox.keys(("keyDown", " "), ("keyDown", "w"))
    await firefox.until(DRIVEN)
    await firefox.keys(("keyUp", " "), ("keyUp", "w"))
    await firefox.until(f"!{DRIVEN}")
    await firefox.click("#emergency-stop")
    await firefox.until("!document.querySelector('#release').hidden")
    assert robot.stopped
    wishes = [call[1] for call in robot.calls if call[0] == "drive"]
    assert any(wish.velocity == (0.125, 0.0, 0.0) for wish in wishes)
    assert ("let_go",) in robot.calls
    page = "document.documentElement"
    assert await firefox.evaluate(f"{page}.scrollWidth <= {page}.clientWidth")


def test_firefox_drives_and_stops(robot: FakeRobot, tmp_path: Path) -> None:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Firefox is installed: apt-get install firefox-esr")
    profile = tmp_path / "profile"
    profile.mkdir()
    command = [path, "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0", "about:blank"]

    async def use(address: str, url: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{address}/session", max_msg_size=0) as socket,
        ):
            await asyncio.wait_for(drive_and_stop(Firefox(socket), robot, url), PATIENCE)

    with (
        serving(robot, Access.of("127.0.0.1")) as served,
        subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        ) as it,
    ):
        try:
            lines = (re.search(r"listening on (ws://\S+)", line) for line in it.stderr)
            found = next(filter(None, lines), None)
            assert found is not None, "Firefox ended"
            asyncio.run(use(found.group(1), served.url))
        finally:
            it.kill()
