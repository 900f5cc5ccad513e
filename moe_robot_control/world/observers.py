"""What the policies get to see of a simulation: true positions with errors, or the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from moe_robot_control.perception.estimator import PoseEstimator
from moe_robot_control.perception.tracker import Tracker
from moe_robot_control.policies.memory import SceneMemory
from moe_robot_control.policies.object_filter import ObjectFilter
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


@dataclass(frozen=True)
class ErrorModel:
    """How far what policies are told is from the truth; standard deviations on each axis.

    Attributes:
        position_bias: of every object's position, constant through an episode [m].
        position_noise: of every look at an object [m]; a pair is the range from which each
            episode draws its own.
        tip_noise: of every measurement of the end effector's position [m].
        width_noise: of every measurement of the gripper's opening [m].
    """

    position_bias: float = 0.0
    position_noise: float | tuple[float, float] = 0.0
    tip_noise: float = 0.0
    width_noise: float = 0.0


PERCEPTION_ERRORS = ErrorModel(position_bias=0.0015, position_noise=0.001)
"""About those of the pose network on held-out images."""


class StateObserver:
    """True positions with an error model, through the filter that the graph's policies use.

    An object under the lid is unknown until it has been seen.
    """

    def __init__(self, sim: BenchSimulation, errors: ErrorModel | None = None) -> None:
        """Observe `sim`, without errors by default."""
        self._sim = sim
        self._errors = ErrorModel() if errors is None else errors
        shape = (sim.num_sims, len(OBJECTS), 3)
        self._bias = np.zeros(shape)
        self._noise = np.zeros(sim.num_sims)
        self._known = np.zeros(shape[:2], dtype=bool)
        self._last = np.zeros(shape)
        self._filter = ObjectFilter(sim.num_sims)
        self._rngs: list[np.random.Generator] = [np.random.default_rng(0)] * sim.num_sims

    def reset(self, ids: np.ndarray, rngs: list[np.random.Generator]) -> None:
        errors = self._errors
        self._filter.reset(ids)
        for sim, rng in zip(ids, rngs, strict=True):
            self._bias[sim] = rng.normal(0.0, 1.0, self._bias.shape[1:]) * errors.position_bias
            noise = errors.position_noise
            self._noise[sim] = rng.uniform(*noise) if isinstance(noise, tuple) else noise
            self._known[sim] = False
            self._rngs[sim] = rng

    def observe(self) -> Scene:
        sim, errors = self._sim, self._errors
        tip, width = sim.end_effector, sim.gripper_width
        if errors.tip_noise or errors.width_noise:
            noise = np.stack([rng.normal(0.0, 1.0, 4) for rng in self._rngs])
            tip = tip + errors.tip_noise * noise[:, :3]
            width = width + errors.width_noise * noise[:, 3]
        visible = np.broadcast_to(sim.present, self._known.shape).copy()
        visible[:, _VIAL] &= ~self._covered()
        positions = sim.object_positions() + self._bias
        if self._noise.any():
            noise = np.stack([rng.normal(0.0, 1.0, self._bias.shape[1:]) for rng in self._rngs])
            positions = positions + self._noise[:, None, None] * noise
            positions = self._filter.update(positions, visible, tip, width)
        self._last = np.where(visible[..., None], positions, self._last)
        self._known |= visible
        return Scene(
            end_effector=tip,
            gripper_width=width,
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
