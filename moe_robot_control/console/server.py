"""The web server: the page, a socket for commands and state, one for images, and the episodes.

Every request but those for the page's own files needs the token, where there is one.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from moe_robot_control.console.access import Access
from moe_robot_control.console.desk import Desk, Viewer
from moe_robot_control.console.episodes import recordings, thumbnail
from moe_robot_control.console.robot import Frame, Robot

STATIC = Path(__file__).resolve().parent / "static"
STATE_PERIOD = 0.05
"""Between two states sent to a page [s]."""
MAX_COMMAND = 4096
"""Longest command [bytes]."""
_HEADERS = {
    # the page is all that it needs; no other site may show or script it
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Console:
    """Serves one robot to any number of viewers."""

    def __init__(self, robot: Robot, access: Access) -> None:
        """Prepare the application; `app` is to be run by aiohttp."""
        self._robot = robot
        self._access = access
        self._desk = Desk(robot)
        self._sockets: set[web.WebSocketResponse] = set()
        self.app = web.Application(middlewares=[self._guard], client_max_size=MAX_COMMAND)
        self.app.on_shutdown.append(self._close_sockets)
        self.app.add_routes(
            [
                web.get("/", self._index),
                web.post("/login", self._login),
                web.get("/control", self._control),
                web.get("/video", self._video),
                web.get("/episodes", self._episodes),
                web.get("/thumbnail", self._thumbnail),
                web.static("/static", STATIC),
            ]
        )

    # -- who is let in -------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host"), request.headers.get("Origin")
        if not self._access.trusts(host, origin, request.scheme):
            return web.Response(status=403, text="refused: not from this console's own page\n")
        public = request.path == "/login" or request.path.startswith("/static/")
        if not public and not self._access.admits(self._token_of(request)):
            response = self._refuse(request)
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _refuse(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/" and "token" in request.query:
            return self._let_in(request, request.query["token"])
        if request.path == "/":
            return self._ask_for_token(request)
        return web.Response(status=401, text="refused: token missing or wrong\n")

    def _token_of(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        return request.cookies.get(_cookie_name(request))

    async def _login(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        return self._let_in(request, str(form.get("token", "")).strip())

    def _let_in(self, request: web.Request, token: str) -> web.StreamResponse:
        """Keep a right token in a cookie, and out of the address; ask again for a wrong one."""
        if not self._access.admits(token):
            return self._ask_for_token(request, wrong=True)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            _cookie_name(request),
            token,
            httponly=True,
            samesite="Lax",
            secure=request.scheme == "https",
        )
        return response

    def _ask_for_token(self, request: web.Request, wrong: bool = False) -> web.StreamResponse:
        page = (STATIC / "login.html").read_text()
        note = "That is not the token." if wrong else ""
        return web.Response(
            status=401, text=page.replace("<!-- note -->", note), content_type="text/html"
        )

    # -- page ----------------------------------------------------------------------------------

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if "token" in request.query:
            raise web.HTTPSeeOther("/")
        return web.FileResponse(STATIC / "index.html")

    async def _episodes(self, request: web.Request) -> web.StreamResponse:
        found = await asyncio.to_thread(recordings, self._robot.recordings())
        return web.json_response([asdict(recording) for recording in found])

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("episode", "")
        jpeg = await asyncio.to_thread(thumbnail, self._robot.recordings(), name)
        if jpeg is None:
            return web.FileResponse(STATIC / "no-image.svg")
        return web.Response(body=jpeg, content_type="image/jpeg")

    # -- commands and state --------------------------------------------------------------------

    async def _control(self, request: web.Request) -> web.StreamResponse:
        socket = await self._accept(request)
        viewer = self._desk.join()
        tasks = {asyncio.create_task(self._tell(socket, viewer))}
        try:
            async for text in _texts(socket):
                # not awaited here: an emergency stop must not wait for a service's answer
                task = asyncio.create_task(self._answer(socket, viewer, text))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            self._desk.leave(viewer)
            for task in tuple(tasks):
                task.cancel()
            self._sockets.discard(socket)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, viewer: Viewer, text: str) -> None:
        answer = await self._desk.handle(viewer, text)
        if answer["answer"] is not None or not answer["ok"]:
            with suppress(ConnectionError):
                await socket.send_json(answer)

    async def _tell(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        with suppress(ConnectionError):
            while not socket.closed:
                # a slow connection gets fewer states, not older ones: sending waits for it
                await socket.send_str(to_json(self._desk.state(viewer)))
                await asyncio.sleep(STATE_PERIOD)

    # -- images --------------------------------------------------------------------------------

    async def _video(self, request: web.Request) -> web.StreamResponse:
        """Sends one image for each `{"camera": name, "after": number}`, when there is a newer."""
        socket = await self._accept(request)
        try:
            async for text in _texts(socket):
                camera, after = _wanted_image(text, self._robot.cameras)
                if camera is None:
                    await socket.close(message=b"no such camera")
                    break
                frame = await self._robot.frame(camera, after)
                with suppress(ConnectionError):
                    await socket.send_bytes(pack(frame))
        finally:
            self._sockets.discard(socket)
        return socket

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=MAX_COMMAND, heartbeat=5.0, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        return socket

    async def _close_sockets(self, _: web.Application) -> None:
        for socket in tuple(self._sockets):
            await socket.close(message=b"the console ends")


def to_json(value: Any) -> str:
    """JSON, which knows no NaN and no infinity: null in their place."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pack(frame: Frame) -> bytes:
    """An image's message: length of the description (4 bytes, big endian), description, JPEG."""
    description: dict[str, Any] = asdict(frame)
    jpeg = description.pop("jpeg")
    text = json.dumps(description).encode()
    return struct.pack(">I", len(text)) + text + jpeg


def _cookie_name(request: web.Request) -> str:
    # cookies do not know ports: two consoles on one machine need two names
    port = request.host.rpartition(":")[2]
    return f"console_token_{port if port.isdecimal() else request.scheme}"


async def _texts(socket: web.WebSocketResponse) -> AsyncIterator[str]:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            yield message.data


def _wanted_image(text: str, cameras: tuple[str, ...]) -> tuple[str | None, int]:
    try:
        wanted = json.loads(text)
        camera, after = wanted["camera"], int(wanted["after"])
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return None, 0
    return (camera, after) if camera in cameras else (None, 0)
