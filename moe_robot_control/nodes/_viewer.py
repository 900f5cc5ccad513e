"""MuJoCo's interactive viewer on a simulation that runs elsewhere."""

from __future__ import annotations

import copy
import os

import mujoco

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.world.simulation import BenchSimulation


class ViewerError(MoeRobotControlError):
    """The viewer cannot be opened."""


class BenchViewer:
    """Shows the first simulation, from a copy of its model and state."""

    def __init__(self, sim: BenchSimulation) -> None:
        """Open the window.

        Raises:
            ViewerError: there is no display.
        """
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ViewerError("parameter 'viewer': no display here (DISPLAY is not set)")
        import mujoco.viewer

        self._sim = sim
        self._model = copy.copy(sim.model)
        self._data = mujoco.MjData(self._model)
        try:
            self._handle = mujoco.viewer.launch_passive(self._model, self._data)
        except Exception as error:
            # the viewer's own errors are plain Exceptions and RuntimeErrors of GLFW
            raise ViewerError(f"parameter 'viewer': {error}") from error

    def new_episode(self) -> None:
        """Take over where the furniture stands now."""
        model = self._sim.model_of(0)
        with self._handle.lock():
            self._model.body_pos[:] = model.body_pos
            self._model.body_quat[:] = model.body_quat

    def update(self) -> None:
        """Show the state now."""
        if not self._handle.is_running():
            return
        with self._handle.lock():
            self._data.qpos[:] = self._sim.qpos[0]
            mujoco.mj_forward(self._model, self._data)
        self._handle.sync()

    def close(self) -> None:
        """Close the window."""
        self._handle.close()
