"""A robot that only remembers what it was told. Run as a program it serves the page:

python test/console/fake_robot.py [PORT]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from moe_robot_control.console.robot import Frame, RobotError, Wish
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS


class FakeRobot:
    """Remembers calls in `calls`; `news` is merged into its state."""

    cameras: tuple[str, ...] = ("left", "right")
    experts = SKILLS
    max_speed = 0.25
    max_opening = 0.08

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.news: dict[str, Any] = {}
        self.folder = folder
        self.stopped = False
        self.mode = "policy"
        self.fault = ""
        self.recorder: dict[str, Any] | None = {"state": "idle", "success": None, "dropped": 0}

    def state(self) -> dict[str, Any]:
        weights = dict(zip(SKILLS, (0.0, 0.1, 0.0, 0.3, 0.0, 0.6, 0.0), strict=True))
        message = "standing still: emergency stop" if self.stopped else "moving"
        joints = [
            {"name": f"panda_joint{i}", "position": p, "lower": -2.9, "upper": 2.9}
            for i, p in enumerate((0.0, -0.35, 0.3, -2.35, 1.2, 2.0, 2.88), 1)
        ]
        return {
            "robot": {
                "name": "panda",
                "simulated": True,
                "cameras": self.cameras,
                "experts": SKILLS,
                "scenarios": NUM_SCENARIOS,
                "max_speed": self.max_speed,
                "max_opening": self.max_opening,
            },
            "command": {
                "mode": self.mode,
                "message": message,
                "level": "ok",
                "stopped": self.stopped,
                "source": "policy",
            },
            "episode": {
                "state": "running",
                "stages_done": 2,
                "stages_total": 3,
                "stage": "push_button",
                "time": 12.3,
            },
            "weights": weights,
            "arm": {"joints": joints, "tip": [0.51, -0.102, 0.23], "opening": 0.08, "speed": 0.12},
            "latency": 0.018,
            "rates": {
                "cameras/left": 20.0,
                "cameras/right": 20.0,
                "joint_states": 100.0,
                "objects": 20.0,
                "gate/weights": 20.0,
                "command": 0.0,
            },
            "diagnostics": [{"name": "command", "level": "ok", "message": message}],
            "recorder": self.recorder,
            **self.news,
        }

    def recordings(self) -> Path:
        return self.folder

    async def frame(self, camera: str, after: int) -> Frame:
        await asyncio.sleep(0.2 if after >= 0 else 0.0)
        image = np.full((256, 256, 3), (90, 80, 70), np.uint8)
        cv2.circle(image, (60 + (7 * after) % 140, 150), 20, (60, 160, 220), -1)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        marks = {"vial": (60.0 + (7 * after) % 140, 150.0), "drawer_handle": (180.0, 90.0)}
        axes = {"x": (150.0, 120.0), "y": (100.0, 130.0), "z": (128.0, 70.0)}
        return Frame(camera, after + 1, jpeg, 256, 256, marks, (128.0, 110.0), axes)

    def drive(self, wish: Wish) -> None:
        self.calls.append(("drive", wish))

    def let_go(self) -> None:
        self.calls.append(("let_go",))

    async def emergency_stop(self) -> str:
        self.stopped = True
        return self._note("emergency_stop")

    async def release(self) -> str:
        self.stopped = False
        return self._note("release")

    async def set_mode(self, mode: str) -> str:
        self.mode = mode
        return self._note("set_mode", mode)

    async def start_episode(
        self, scenario: int | None, skill: str | None, seed: int, operator: str
    ) -> str:
        return self._note("start_episode", scenario, skill, seed, operator)

    async def record(self, action: str, details: Mapping[str, str]) -> str:
        recording = {"start": "recording", "stop": "idle", "discard": "idle"}
        if self.recorder is not None:
            marks = {"success": True, "failure": False}
            self.recorder |= {"episode": "push_button_1", "time": 3.2}
            self.recorder["state"] = recording.get(action, self.recorder["state"])
            self.recorder["success"] = marks.get(action, self.recorder["success"])
        return self._note("record", action, dict(details))

    def _note(self, *call: Any) -> str:
        self.calls.append(call)
        if self.fault:
            raise RobotError(self.fault)
        return f"done: {call[0]}"


if __name__ == "__main__":
    from aiohttp import web

    from moe_robot_control.console.access import Access
    from moe_robot_control.console.server import Console

    robot = FakeRobot(Path("data/recordings"))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    web.run_app(Console(robot, Access.of("127.0.0.1")).app, host="127.0.0.1", port=port)
