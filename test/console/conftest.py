"""A console with a robot that only remembers, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from moe_robot_control.console.access import Access
from moe_robot_control.console.server import Console

from .fake_robot import FakeRobot


@dataclass
class Served:
    """A console that listens on a port of this machine."""

    robot: FakeRobot
    url: str


@pytest.fixture
def robot(tmp_path: Path) -> FakeRobot:
    """A robot without recordings."""
    return FakeRobot(tmp_path / "recordings")


@contextmanager
def serving(robot: FakeRobot, access: Access) -> Iterator[Served]:
    """A console that is served by another thread meanwhile."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="console-under-test")
    thread.start()

    def run(coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, loop)
        return future.result(30.0)

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(Console(robot, access).app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, site._server.sockets[0].getsockname()[1]

    try:
        runner, port = run(start())
        try:
            yield Served(robot, f"http://127.0.0.1:{port}")
        finally:
            run(runner.cleanup())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10.0)
        loop.close()
