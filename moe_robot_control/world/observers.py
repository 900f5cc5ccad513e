"""What the policies get to see of a simulation: true positions with errors, or the cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from moe_robot_control.perception.estimator import PoseEstimator
from moe_robot_control.perception.tracker import Tracker
from moe_robot_control.policies.memory import SceneMemory
from moe_robot_control.policies.spaces import OBJECTS, Scene
from moe_robot_control.share import share_path
from moe_robot_control.world.cameras import CameraRenderer
from moe_robot_control.world.simulation import BenchSimulation

_VIAL = OBJECTS.index("vial")


class Observer(Protocol):
    """Turns simulations into scenes."""

    def reset(self, ids: np.ndarray, rngs: list[np.random.Generator]) -> None:
        """Begin new episodes in simulations `ids`."""

    def observe(self) -> Scene:
        """The scenes now; leading axis n."""


class StateObserver:
    """True object positions with the error model of perception.

    Each object's error is a bias drawn once an episode plus white noise at every look. An
    object under the lid is unknown until it has been seen.
    """

    def __init__(self, sim: BenchSimulation, bias: float = 0.0, noise: float = 0.0) -> None:
        """Standard deviations of the errors, each axis [m]."""
        self._sim = sim
        self._bias_scale, self._noise_scale = bias, noise
        shape = (sim.num_sims, len(OBJECTS), 3)
        self._bias = np.zeros(shape)
        self._known = np.zeros(shape[:2], dtype=bool)
        self._last = np.zeros(shape)
        self._rngs: list[np.random.Generator] = [np.random.default_rng(0)] * sim.num_sims

    def reset(self, ids: np.ndarray, rngs: list[np.random.Generator]) -> None:
        for sim, rng in zip(ids, rngs, strict=True):
            self._bias[sim] = rng.normal(0.0, 1.0, self._bias.shape[1:]) * self._bias_scale
            self._known[sim] = False
            self._rngs[sim] = rng

    def observe(self) -> Scene:
        sim = self._sim
        positions = sim.object_positions()
        visible = np.broadcast_to(sim.present, self._known.shape).copy()
        visible[:, _VIAL] &= ~self._covered()
        if self._noise_scale:
            noise = np.stack([rng.normal(0.0, 1.0, self._bias.shape[1:]) for rng in self._rngs])
            positions = positions + self._noise_scale * noise
        self._last = np.where(visible[..., None], positions + self._bias, self._last)
        self._known |= visible
        return Scene(
            end_effector=sim.end_effector,
            gripper_width=sim.gripper_width,
            positions=self._last.copy(),
            known=self._known.copy(),
        )

    def _covered(self) -> np.ndarray:
        sim = self._sim
        if not (sim.has("lid") and sim.has("vial")):
            return np.zeros(sim.num_sims, dtype=bool)
        offset = sim.body_position("lid/lid") - sim.body_position("vial/vial")
        flat = np.abs(offset[:, :2]).max(axis=1)
        return (flat < 0.045) & (offset[:, 2] > 0.0)


class CameraObserver:
    """What the graph's policies see: rendered images through perception, tracker and memory."""

    def __init__(self, sim: BenchSimulation, model: str | Path | None = None) -> None:
        """Needs a single simulation; `model` is the pose network (the package's own)."""
        if sim.num_sims != 1:
            raise ValueError(f"cameras observe one simulation, not {sim.num_sims}")
        self._sim = sim
        self._renderer = CameraRenderer(sim)
        self._cameras = tuple(sim.arm.cameras)
        path = share_path("models/perception/keypoints.onnx") if model is None else model
        self._estimator = PoseEstimator(
            path, {name: self._renderer.camera(name) for name in self._cameras}
        )
        self._tracker, self._memory = Tracker(), SceneMemory()

    def reset(self, ids: np.ndarray, rngs: list[np.random.Generator]) -> None:
        """Begin a new episode."""
        self._tracker, self._memory = Tracker(), SceneMemory()

    def observe(self) -> Scene:
        """The scene now; leading axis 1."""
        estimates = self._estimator.estimate(self._renderer.render_all(self._cameras))
        tracked = self._tracker.update(float(self._sim.time[0]), estimates)
        self._memory.update({estimate.name: estimate.position for estimate in tracked})
        scene = self._memory.scene(self._sim.end_effector[0], self._sim.gripper_width[0])
        return Scene(
            scene.end_effector[None],
            scene.gripper_width[None],
            scene.positions[None],
            scene.known[None],
        )

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
