"""Memory of where objects were last seen, between perception and the policies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from moe_robot_control.policies.furniture import (
    BUTTON_RADIUS,
    CLOSED_HANDLE,
    HANDLE_HALF_LENGTH,
    VIAL_WIDTH,
    door_angle,
    door_axes,
    door_handle_at,
)
from moe_robot_control.policies.object_filter import ObjectFilter
from moe_robot_control.policies.spaces import OBJECTS, Scene

HELD = "vial"
"""The object that the fingers carry."""
HELD_TOLERANCE = 0.006
BUTTON_NEAR = 0.06
"""Within this horizontal distance the hand may hide some of the button [m]."""
FINGERS_BELOW_TIP = 0.01
"""The fingers end this far below the tip [m]."""
FINGER_DEPTH = 0.017
"""From the tip forward to the handle that the fingers pull, middle to middle [m]."""
HOOKED_BELOW = 0.03
"""Fingers that pull a handle are at most this far below its upper edge [m]."""
HELD_NEAR = 0.03
"""Largest horizontal distance from the tip of an object that is held [m]."""
HELD_LOOKS = 9
"""What is held stays in the fingers: where, is the median over so many looks, so that a wrong one,
perhaps the last before furniture hides it, does not count."""


class SceneMemory:
    """Keeps the last position of every object, so that a hidden one is not forgotten.

    An object never seen is unknown. While hand or furniture hide them, what the fingers hold
    moves with them, a handle that they have hooked goes ahead of them, and a button under them
    goes down with them. The memory starts empty and is emptied by `reset`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every object."""
        self._filter = ObjectFilter()
        self._fresh = False
        self._positions = np.zeros((len(OBJECTS), 3))
        self._known = np.zeros(len(OBJECTS), dtype=bool)
        self._seen: frozenset[str] = frozenset()
        self._tip: np.ndarray | None = None
        self._in_fingers: deque[np.ndarray] = deque(maxlen=HELD_LOOKS)
        self._button_height: float | None = None

    def update(self, seen: Mapping[str, np.ndarray]) -> None:
        """Take the positions [m, base frame] of the objects seen now; shapes (3,).

        Raises:
            ValueError: a name is not an object, or a position is not three finite numbers.
        """
        self._seen = frozenset(seen)
        self._fresh = True
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
        """The scene now, for an end effector at `end_effector` [m], shape (3,).

        Call it once after every `update`.
        """
        tip = np.array(end_effector, dtype=np.float64)
        if self._fresh:
            self._fresh = False
            here = np.array([name in self._seen for name in OBJECTS])
            looks, width = self._positions[None], np.array([gripper_width], dtype=np.float64)
            filtered = self._filter.update(looks, here[None], tip[None], width)[0]
            self._positions = np.where(here[:, None], filtered, self._positions)
            self._look_at_held(tip)
        self._carry(tip, float(gripper_width))
        self._tip = tip
        self._press(tip)
        self._pull_door(tip)
        self._pull_drawer(tip)
        return Scene(
            end_effector=tip,
            gripper_width=np.asarray(gripper_width, dtype=np.float64),
            positions=self._positions.copy(),
            known=self._known.copy(),
        )

    def _look_at_held(self, tip: np.ndarray) -> None:
        """Note where in the fingers what they hold was seen."""
        if self._in_fingers and HELD in self._seen:
            self._in_fingers.append(self._positions[OBJECTS.index(HELD)] - tip)

    def _carry(self, tip: np.ndarray, gripper_width: float) -> None:
        """What the fingers hold goes with them."""
        held = self._position(HELD)
        if held is None or abs(gripper_width - VIAL_WIDTH) >= HELD_TOLERANCE:
            self._in_fingers.clear()
            return
        if not self._in_fingers:
            before = tip if HELD in self._seen or self._tip is None else self._tip
            if np.linalg.norm((held - before)[:2]) >= HELD_NEAR:
                return
            self._in_fingers.append(held - before)
        held[:] = tip + np.median(self._in_fingers, axis=0)

    def _press(self, tip: np.ndarray) -> None:
        """A button goes down under the fingers, as far as they do and no farther."""
        button = self._position("button")
        if button is None:
            return
        beside, fingers = np.linalg.norm(button[:2] - tip[:2]), tip[2] - FINGERS_BELOW_TIP
        if "button" not in self._seen:
            if beside < BUTTON_RADIUS:
                button[2] = min(button[2], fingers)
        elif self._button_height is not None and beside < BUTTON_NEAR:
            # half hidden by the hand it may seem to be lower
            button[2] = max(button[2], min(self._button_height, fingers))
        self._button_height = float(button[2])

    def _pull_drawer(self, tip: np.ndarray) -> None:
        """Fingers behind the drawer's hidden handle have not passed through it."""
        handle = self._hidden("drawer_handle")
        if handle is not None:
            handle[0] -= _passed(handle, tip, *door_axes(0.0))

    def _pull_door(self, tip: np.ndarray) -> None:
        """Nor through the door's, which turns about its hinge."""
        handle, cabinet = self._hidden("door_handle"), self._position("cabinet")
        if handle is None or cabinet is None:
            return
        for _ in range(4):
            angle = float(door_angle(handle, cabinet))
            passed = _passed(handle, tip, *door_axes(angle))
            if passed < 1e-4:
                break
            handle[:2] = door_handle_at(angle + passed / -CLOSED_HANDLE[1], cabinet)

    def _position(self, name: str) -> np.ndarray | None:
        """View of an object's position, if it is known."""
        index = OBJECTS.index(name)
        return self._positions[index] if self._known[index] else None

    def _hidden(self, name: str) -> np.ndarray | None:
        """View of an object's position, if it is known but not seen now."""
        return None if name in self._seen else self._position(name)


def _passed(handle: np.ndarray, tip: np.ndarray, outward: np.ndarray, along: np.ndarray) -> float:
    """How far fingers that pull a handle are ahead of where it would hold them up [m]."""
    offset = handle - tip
    depth = float(offset @ outward)
    hooked = 0.0 < offset[2] < HOOKED_BELOW and abs(float(offset @ along)) < HANDLE_HALF_LENGTH
    return FINGER_DEPTH - depth if hooked and 0.0 < depth < FINGER_DEPTH else 0.0
