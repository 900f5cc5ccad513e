"""A stand-in for a human at a keyboard, where no operator is there to demonstrate.

It knows what the scripted teachers know, but sees late, has one speed for far and one for near
along each axis, and its hand is not steady. It opens the fingers on the way to a vial, where the
teachers, who may have a handle between them, still keep them closed. It does not always succeed.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from moe_robot_control.policies.spaces import MAX_GRIPPER_WIDTH, MAX_SPEED, OBJECTS, Scene
from moe_robot_control.world.tasks import CARRYING
from moe_robot_control.world.teachers import NEARBY, teach

DELAY = 2
"""Decisions between seeing and acting (0.1 s: a human reacts later, but sees it coming)."""
SPEEDS = (0.0, 0.03, 0.15)
"""What keys command along an axis [m/s]."""
SLIP_RATE = 0.02
"""How often a wrong key is hit, along each axis at each decision."""
SLIP_STEPS = 4
"""Decisions until that is noticed."""


class Operator:
    """One operator, one episode after the other."""

    def __init__(self, skill: str, rng: np.random.Generator) -> None:
        """Begin an episode.

        Args:
            skill: out of `SKILLS`.
            rng: of the slips.
        """
        self._skill, self._rng = skill, rng
        self._seen: deque[np.ndarray] = deque(maxlen=DELAY + 1)
        self._slip, self._slipping = np.zeros(3), np.zeros(3, dtype=int)

    def act(self, scene: Scene) -> np.ndarray:
        """Velocity [m/s] and gripper opening [m] for one scene (leading axis 1). Shape (1, 4)."""
        self._seen.append(self._wanted(scene))
        wanted = self._seen[0]
        velocity = np.sign(wanted[:3]) * _nearest_speed(np.abs(wanted[:3]))
        new = (self._slipping == 0) & (self._rng.random(3) < SLIP_RATE)
        self._slip = np.where(new, self._rng.choice([-SPEEDS[2], 0.0, SPEEDS[2]], 3), self._slip)
        self._slipping = np.where(new, SLIP_STEPS, np.maximum(self._slipping - 1, 0))
        velocity = np.where(self._slipping > 0, self._slip, velocity)
        opening = MAX_GRIPPER_WIDTH * float(wanted[3] > MAX_GRIPPER_WIDTH / 2)
        return np.append(np.clip(velocity, -MAX_SPEED, MAX_SPEED), opening)[None]

    def _wanted(self, scene: Scene) -> np.ndarray:
        wanted = teach(self._skill, scene)[0]
        if self._skill in CARRYING:
            vial = scene.positions[0, OBJECTS.index("vial")]
            if np.linalg.norm((scene.end_effector[0] - vial)[:2]) > NEARBY:
                wanted[3] = MAX_GRIPPER_WIDTH
        return wanted


def _nearest_speed(speed: np.ndarray) -> np.ndarray:
    speeds = np.array(SPEEDS)
    return speeds[np.abs(speed[:, None] - speeds).argmin(axis=1)]
