"""Dense rewards of the seven skills; the sparse one is success itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moe_robot_control.policies.spaces import OBJECTS, SKILLS
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import SUCCESS

SUCCESS_REWARD = 10.0
"""Added to the dense reward when everything is done."""


def potential(sim: BenchSimulation, stage: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """How far a job has come: one for each skill done, and up to one for the next.

    The dense reward is its change (Ng, Harada and Russell 1999): lingering earns nothing, and
    neither does giving up early. Half of a skill's share is for bringing the tip to where it
    acts, half for its own progress.

    Args:
        sim: the simulations.
        stage: index of the next skill. Shape (n,).
        goal: the stage at which everything is done. Shape (n,).

    Returns:
        Shape (n,).
    """
    value = stage.astype(np.float64)
    for index in np.unique(stage[stage < goal]):
        here = stage == index
        value[here] += _PROGRESS[SKILLS[index]](sim)[here]
    return value


def _at(sim: BenchSimulation, name: str) -> np.ndarray:
    return sim.object_positions()[:, OBJECTS.index(name)]


def _near(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 at no distance; falls at two scales, so that it tells from afar and close by [m]."""
    distance = np.linalg.norm(first - second, axis=1)
    return 1.0 - (np.tanh(distance / 0.1) + np.tanh(distance / 0.4)) / 2.0


def _tip_and(sim: BenchSimulation, target: str, below: float, progress: np.ndarray) -> np.ndarray:
    reach = _near(sim.end_effector, _at(sim, target) - [0.0, 0.0, below])
    return 0.5 * reach + 0.5 * np.clip(progress, 0.0, 1.0)


def _carry(goal: str, height: float) -> Callable[[BenchSimulation], np.ndarray]:
    def reward(sim: BenchSimulation) -> np.ndarray:
        progress = _near(_at(sim, "vial"), _at(sim, goal) + [0.0, 0.0, height])
        return _tip_and(sim, "vial", 0.018, progress)

    return reward


def _unbox(sim: BenchSimulation) -> np.ndarray:
    shift = sim.body_position("lid/lid") - sim.body_position("box/box")
    return _tip_and(sim, "lid", 0.012, np.linalg.norm(shift[:, :2], axis=1) / 0.06)


_PROGRESS: dict[str, Callable[[BenchSimulation], np.ndarray]] = {
    "rotate_door": lambda sim: _tip_and(
        sim, "door_handle", 0.016, sim.joint("cabinet/door") / SUCCESS.door
    ),
    "unbox": _unbox,
    "pick_and_place": _carry("tray", 0.08),
    "pull_drawer": lambda sim: _tip_and(
        sim, "drawer_handle", 0.016, sim.joint("chest/drawer") / SUCCESS.drawer
    ),
    "pick_and_insert": _carry("rack", 0.036),
    "push_button": lambda sim: _tip_and(
        sim, "button", 0.0, sim.joint("button/button") / SUCCESS.button
    ),
    "pick_and_drop": _carry("bin", 0.08),
}
