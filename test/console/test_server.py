"""The server over real sockets: nothing is seen or commanded without the token."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from moe_robot_control.console.access import Access

from .conftest import serving
from .fake_robot import FakeRobot

TOKEN = "correct-horse-battery"
PATHS = ("/", "/control", "/video", "/episodes", "/thumbnail?episode=x", "/nothing")
Use = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


def run(robot: FakeRobot, access: Access, use: Use) -> None:
    """Serve `robot`, and use it from a client that keeps cookies."""

    async def client(url: str) -> None:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            await asyncio.wait_for(use(session, url), 20.0)

    with serving(robot, access) as served:
        asyncio.run(client(served.url))


@asynccontextmanager
async def socket(
    session: aiohttp.ClientSession, address: str, **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with session.ws_connect(address, **options) as connected:
        yield connected


async def answer_to(
    connected: aiohttp.ClientWebSocketResponse, command: dict[str, Any]
) -> dict[str, Any]:
    await connected.send_json(command | {"id": 1})
    while True:
        message = await connected.receive_json()
        if "answer" in message:
            return message


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "x=y"}])
def test_nothing_without_the_token(robot: FakeRobot, headers: dict[str, str]) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        for path in PATHS:
            async with session.get(url + path, headers=headers) as response:
                assert response.status == 401, path
        for path in ("/control", "/video"):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await session.ws_connect(url + path, headers=headers)
        async with session.post(f"{url}/control", json={"do": "emergency_stop"}) as response:
            assert response.status == 401
        # what the page for the token is made of holds nothing of the robot
        async with session.get(f"{url}/static/style.css") as response:
            assert response.status == 200

    run(robot, Access.of("0.0.0.0", TOKEN), use)
    assert robot.calls == []


def test_the_token_in_a_header(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with socket(session, f"{url}/control", headers=headers) as control:
            assert (await answer_to(control, {"do": "emergency_stop"}))["ok"]

    run(robot, Access.of("0.0.0.0", TOKEN), use)
    assert robot.calls == [("emergency_stop",)]


def test_the_token_in_the_link(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url, params={"token": "wrong"}) as response:
            assert response.status == 401
            assert "not the token" in await response.text()
        async with session.get(url, params={"token": TOKEN}) as response:
            assert response.status == 200
            assert "token" not in str(response.url)
            cookie = response.history[0].headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite" in cookie
        async with session.get(url, params={"token": TOKEN}) as response:
            assert "token" not in str(response.url)
        async with socket(session, f"{url}/control") as control:
            assert (await control.receive_json())["robot"]["name"] == "panda"

    run(robot, Access.of("0.0.0.0", TOKEN), use)


def test_the_token_typed_in(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with session.post(f"{url}/login", data={"token": "no"}) as response:
            assert response.status == 401
        async with session.post(f"{url}/login", data={"token": f" {TOKEN} "}) as response:
            assert response.status == 200
            assert "Emergency stop" in await response.text()

    run(robot, Access.of("0.0.0.0", TOKEN), use)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_other_sites_command_nothing(robot: FakeRobot, headers: dict[str, str]) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(f"{url}/control", headers=headers)
        async with session.get(f"{url}/episodes", headers=headers) as response:
            assert response.status == 403

    run(robot, Access.of("127.0.0.1"), use)


def test_pages_may_not_be_framed_or_scripted(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy and "default-src 'self'" in policy

    run(robot, Access.of("127.0.0.1"), use)


def test_two_viewers_one_operator(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/control") as ana:
            assert (await answer_to(ana, {"do": "take_control"}))["ok"]
            async with socket(session, f"{url}/control") as ben:
                refused = await answer_to(ben, {"do": "set_mode", "mode": "teleop"})
                assert not refused["ok"] and "operates" in refused["text"]
                await ana.close()
                # leaving frees the lease; the server learns of it in its own time
                while (await ben.receive_json()).get("operator", "x") is not None:
                    pass
                assert (await answer_to(ben, {"do": "take_control"}))["ok"]

    run(robot, Access.of("127.0.0.1"), use)
    assert robot.calls == []


def test_a_closed_connection_lets_go(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/control") as control:
            await answer_to(control, {"do": "take_control"})
            state = await control.receive_json()
            drive = {"do": "drive", "axes": [1, 0, 0], "seen": state["now"]}
            assert (await answer_to(control, drive))["ok"]
        async with socket(session, f"{url}/control") as other:
            while (await other.receive_json())["operator"] is not None:
                pass

    run(robot, Access.of("127.0.0.1"), use)
    assert [call[0] for call in robot.calls] == ["drive", "let_go"]


def test_an_emergency_stop_does_not_wait_for_slow_commands(robot: FakeRobot) -> None:
    stopped = asyncio.Event()

    async def slow(mode: str) -> str:
        await stopped.wait()
        return "at last"

    async def stop() -> str:
        stopped.set()
        return "stopped"

    robot.set_mode, robot.emergency_stop = slow, stop

    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/control") as control:
            await answer_to(control, {"do": "take_control"})
            await control.send_json({"do": "set_mode", "mode": "idle", "id": 1})
            await control.send_json({"do": "emergency_stop", "id": 2})
            answers = []
            while len(answers) < 2:
                message = await control.receive_json()
                answers += [message["answer"]] if "answer" in message else []
            assert sorted(answers) == [1, 2]

    run(robot, Access.of("127.0.0.1"), use)


def test_images_come_when_asked_for(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/video") as video:
            after = -1
            for _ in range(3):
                await video.send_json({"camera": "left", "after": after})
                data = await video.receive_bytes()
                (size,) = struct.unpack(">I", data[:4])
                description = json.loads(data[4 : 4 + size])
                assert data[4 + size :].startswith(b"\xff\xd8")
                assert description["number"] == after + 1
                assert description["marks"]["drawer_handle"] == [180.0, 90.0]
                after = description["number"]

    run(robot, Access.of("127.0.0.1"), use)


def test_numbers_that_json_does_not_know(robot: FakeRobot) -> None:
    robot.news = {"latency": float("nan"), "weights": {"unbox": float("inf")}, "rates": [(1.0,)]}

    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/control") as control:

            def refuse(constant: str) -> None:
                raise AssertionError(constant)

            state = json.loads(await control.receive_str(), parse_constant=refuse)
            assert (state["latency"], state["weights"], state["rates"]) == (
                None,
                {"unbox": None},
                [[1.0]],
            )

    run(robot, Access.of("127.0.0.1"), use)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"camera": "back", "after": 0}', '{"camera": "left", "after": "x"}', "1e999"],
)
def test_nonsense_closes_the_video(robot: FakeRobot, text: str) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/video") as video:
            await video.send_str(text)
            assert (await video.receive()).type is aiohttp.WSMsgType.CLOSE

    run(robot, Access.of("127.0.0.1"), use)


def test_a_command_that_is_too_long_ends_the_connection(robot: FakeRobot) -> None:
    async def use(session: aiohttp.ClientSession, url: str) -> None:
        async with socket(session, f"{url}/control") as control:
            await control.send_str(" " * 5000)
            while (message := await control.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    run(robot, Access.of("127.0.0.1"), use)
