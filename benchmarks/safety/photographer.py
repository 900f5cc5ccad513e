"""Cameras that take their time: images are rendered in a thread beside the arm's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.perception.camera import CameraIntrinsics
from moe_robot_control.world.cameras import CameraRenderer
from moe_robot_control.world.simulation import BenchSimulation, State

Deliver = Callable[[int, dict[str, np.ndarray]], None]


class Photographer:
    """Renders what all cameras see of a state; a state that comes while it renders is kept.

    Only the newest is kept: a camera that is asked too often leaves out images.
    """

    def __init__(self, arm: ArmConfig, deliver: Deliver) -> None:
        """Start the thread.

        Args:
            arm: whose cameras.
            deliver: called in the thread with stamp [ns] and RGB images by camera.

        Raises:
            RenderingError: no way to render on this machine.
        """
        self._arm, self._deliver = arm, deliver
        self._changed = threading.Condition()
        self._wanted: tuple[int, State] | None = None
        self._closed = False
        ready: Future[dict[str, CameraIntrinsics]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        self.intrinsics = ready.result()

    def take(self, stamp: int, state: State) -> None:
        """Photograph a state."""
        with self._changed:
            self._wanted = stamp, state
            self._changed.notify()

    def close(self) -> None:
        """End the thread and free its graphics context."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self, ready: Future[dict[str, CameraIntrinsics]]) -> None:
        # images may come late, the arm may not
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        # all that belongs to a graphics context must be of one thread
        try:
            stage = BenchSimulation(1, arm=self._arm)
            renderer = CameraRenderer(stage)
        except Exception as error:
            ready.set_exception(error)
            return
        cameras = tuple(self._arm.cameras)
        with renderer:
            ready.set_result({name: renderer.camera_info(name) for name in cameras})
            while (wanted := self._next()) is not None:
                stamp, state = wanted
                stage.restore(0, state)
                stage.forward()
                self._deliver(stamp, renderer.render_all(cameras))

    def _next(self) -> tuple[int, State] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._wanted is not None)
            wanted, self._wanted = self._wanted, None
            return None if self._closed else wanted
