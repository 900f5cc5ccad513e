"""A console with a robot that only remembers, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from moe_robot_control.console.access import Access
from moe_robot_control.console.background import BackgroundServer
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
    server = BackgroundServer(Console(robot, access).app, "127.0.0.1", 0)
    try:
        yield Served(robot, f"http://127.0.0.1:{server.port}")
    finally:
        server.close()
