"""Memory of where objects were last seen, between perception and the policies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moe_robot_control.policies.spaces import OBJECTS, Scene


class SceneMemory:
    """Keeps the last position of every object, so that a hidden one is not forgotten.

    An object never seen is unknown. The memory starts empty and is emptied by `reset`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every object."""
        self._positions = np.zeros((len(OBJECTS), 3))
        self._known = np.zeros(len(OBJECTS), dtype=bool)

    def update(self, seen: Mapping[str, np.ndarray]) -> None:
        """Take the positions [m, base frame] of the objects seen now; shapes (3,).

        Raises:
            ValueError: a name is not an object, or a position is not three finite numbers.
        """
        for name, position in seen.items():
            if name not in OBJECTS:
                raise ValueError(f"unknown object {name!r}: expected one of {', '.join(OBJECTS)}")
            position = np.asarray(position, dtype=np.float64)
            if position.shape != (3,) or not np.isfinite(position).all():
                raise ValueError(f"position of {name!r} is not three finite numbers: {position}")
            index = OBJECTS.index(name)
            self._positions[index] = position
            self._known[index] = True

    def scene(self, end_effector: np.ndarray, gripper_width: float) -> Scene:
        """The scene now, for an end effector at `end_effector` [m], shape (3,)."""
        return Scene(
            end_effector=np.asarray(end_effector, dtype=np.float64),
            gripper_width=np.asarray(gripper_width, dtype=np.float64),
            positions=self._positions.copy(),
            known=self._known.copy(),
        )
