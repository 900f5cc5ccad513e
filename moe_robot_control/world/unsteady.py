"""Smooth noise and now and then a push on an arm's motion, so that demonstrations show recoveries.

What is shown is the demonstrator's own answer to where these led (DART, Laskey et al. 2017), never
the noise itself: noise in the labels, as it lasts, would teach to go on in its direction.
"""

from __future__ import annotations

import numpy as np

NOISE_STD = 0.02
NOISE_MEMORY = 0.8
PUSH_RATE = 0.02
PUSH_STD = 0.12
PUSH_STEPS = 8
"""A push lasts so many decisions."""


class Unsteadiness:
    """What is added to the end effector's velocity, decision by decision."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noise, self._push, self._pushing = np.zeros(3), np.zeros(3), 0

    def step(self) -> np.ndarray:
        """The velocity of the next decision [m/s]. Shape (3,)."""
        rng = self._rng
        self._noise = NOISE_MEMORY * self._noise + NOISE_STD * rng.normal(size=3)
        if self._pushing == 0 and rng.random() < PUSH_RATE:
            self._pushing, self._push = PUSH_STEPS, PUSH_STD * rng.normal(size=3)
        velocity = self._noise + (self._push if self._pushing else 0.0)
        self._pushing = max(0, self._pushing - 1)
        return velocity
