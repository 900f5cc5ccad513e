"""Object positions over time: smooth where things stand still, prompt where they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moe_robot_control.perception.estimator import ObjectEstimate
from moe_robot_control.policies.spaces import DECISION_PERIOD

REST_GAIN = 0.3
"""Share of a new position that differs no more than noise does."""
NOISE = 0.004
"""Differences below this are noise [m]."""
MOTION = 0.012
"""Differences beyond this are motion, taken over whole [m]."""
JUMP = 0.06
"""A larger difference is believed when two frames in a row agree on it [m]."""
FORGET = 1.0
"""An object unseen for this long starts anew [s]."""


class Tracker:
    """Exponential smoothing whose gain grows with the difference, with outlier rejection.

    The same stamp given twice yields the same answer and changes nothing.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, tuple[float, ObjectEstimate]] = {}
        self._doubts: dict[str, np.ndarray] = {}
        self._last: tuple[float, list[ObjectEstimate]] | None = None

    def update(self, stamp: float, estimates: Sequence[ObjectEstimate]) -> list[ObjectEstimate]:
        """Filtered estimates of the objects seen in this frame.

        Args:
            stamp: time of the frame [s]; must not go back.
            estimates: what was seen.

        Raises:
            ValueError: time went back.
        """
        if self._last is not None:
            if stamp == self._last[0]:
                return self._last[1]
            if stamp < self._last[0]:
                raise ValueError(f"time went back from {self._last[0]} s to {stamp} s")
        filtered = [self._follow(stamp, estimate) for estimate in estimates]
        self._last = stamp, filtered
        return filtered

    def _follow(self, stamp: float, seen: ObjectEstimate) -> ObjectEstimate:
        name = seen.name
        if name not in self._tracks or stamp - self._tracks[name][0] > FORGET:
            self._tracks[name] = stamp, seen
            return seen
        last, track = self._tracks[name]
        difference = float(np.linalg.norm(seen.position - track.position))
        # what was not seen for a while may have moved meanwhile
        jump = JUMP * max(1.0, (stamp - last) / DECISION_PERIOD)
        if difference > jump:
            doubt = self._doubts.get(name)
            if doubt is None or np.linalg.norm(doubt - seen.position) > JUMP:
                self._doubts[name] = seen.position
                return track
        self._doubts.pop(name, None)
        gain = REST_GAIN + (1.0 - REST_GAIN) * np.clip(
            (difference - NOISE) / (MOTION - NOISE), 0.0, 1.0
        )
        position = track.position + gain * (seen.position - track.position)
        # errors of one view hardly change from frame to frame: smoothing earns no certainty
        covariance = track.covariance + gain * (seen.covariance - track.covariance)
        track = replace(seen, position=position, covariance=covariance)
        self._tracks[name] = stamp, track
        return track
