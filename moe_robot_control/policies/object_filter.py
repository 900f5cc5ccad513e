"""Object positions out of noisy looks: an interacting multiple model filter for each object.

An object either stands still or goes with the end effector (Blom and Bar-Shalom 1988); now and
then somebody else moves it. How noisy the looks are is measured on the way, so that positions
which are hardly noisy pass unchanged and without delay.
"""

from __future__ import annotations

import numpy as np

from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.spaces import OBJECTS

_VIAL = OBJECTS.index("vial")

NEGLIGIBLE_NOISE = 0.0025
"""Positions whose noise is below this on each axis are passed on as they are [m]."""
REACH = 0.08
"""Only an object this near to the end effector can go with it [m]."""
STAY = 0.95
"""Probability that an object goes on as it did, from one look to the next."""
GRASPED = 0.97
"""Probability that a vial goes with fingers that have closed about it."""
HELD = 0.005
"""Fingers hold a vial if their opening is within this of its width [m]."""
OPENED = 0.02
"""Fingers hold none if they are further open by this [m]."""
DRIFT = 0.0004
"""Standard deviation of a still object's motion between two looks [m]."""
SLIP = 0.2
"""Of a carried object's, as a share of the end effector's motion."""
WINDOW = 40
"""Looks over which the noise is measured."""
MEMORY = 0.75
"""Of the mean innovation that tells of an object moved by somebody else."""
SURPRISE = 27.0
"""Squared normalised mean innovation (three degrees of freedom) of a moved object."""


class ObjectFilter:
    """Filters the positions of all `OBJECTS` in n scenes."""

    def __init__(self, num_scenes: int = 1) -> None:
        """Start with nothing known."""
        n, k = num_scenes, len(OBJECTS)
        self._mean = np.zeros((2, n, k, 3))
        self._variance = np.zeros((2, n, k))
        self._share = np.zeros((2, n, k))
        self._noise = np.zeros((n, k))
        self._innovation = np.zeros((n, k, 3))
        self._looks = np.zeros((n, k), dtype=int)
        self._last = np.zeros((2, n, k, 3))
        self._tip = np.full((n, 3), np.nan)

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Forget everything, in scenes `ids` only where given."""
        rows = slice(None) if ids is None else ids
        self._looks[rows] = 0
        self._noise[rows] = 0.0
        self._tip[rows] = np.nan

    def update(
        self,
        looks: np.ndarray,
        seen: np.ndarray,
        tip: np.ndarray,
        width: np.ndarray | None = None,
    ) -> np.ndarray:
        """Take a look.

        Args:
            looks: measured positions [m]. Shape (n, 11, 3).
            seen: which of them are there; the others may hold anything. Shape (n, 11), bool.
            tip: end effector [m]. Shape (n, 3).
            width: opening of the gripper, which tells whether it holds a vial [m]. Shape (n,).

        Returns:
            Positions [m]; those not seen are undefined. Shape (n, 11, 3).
        """
        looks = np.where(seen[..., None], looks, 0.0)
        self._measure_noise(looks, seen)
        motion = np.where(np.isnan(self._tip), 0.0, tip - self._tip)
        self._tip = tip.copy()
        self._predict(motion, tip, width)
        variance = np.maximum(self._noise, 1e-8)
        # before the noise is known there is nothing to filter by
        new = seen & (self._looks < 4)
        self._correct(looks, variance, seen & ~new)
        self._begin(looks, variance, new)
        estimate = (self._share[..., None] * self._mean).sum(axis=0)
        quiet = self._noise < NEGLIGIBLE_NOISE**2
        return np.where(quiet[..., None], looks, estimate)

    def _measure_noise(self, looks: np.ndarray, seen: np.ndarray) -> None:
        """White noise of variance s gives second differences of variance 6 s."""
        self._looks = np.where(seen, self._looks + 1, 0)
        second = looks - 2.0 * self._last[0] + self._last[1]
        sample = np.square(second).mean(axis=-1) / 6.0
        usable = self._looks >= 3
        count = np.clip(self._looks - 2, 1, WINDOW)
        # a jump is not noise
        cap = np.where(self._looks > 6, 9.0 * np.maximum(self._noise, 1e-6), np.inf)
        change = (np.minimum(sample, cap) - self._noise) / count
        self._noise = np.where(usable, self._noise + change, self._noise)
        self._last = np.stack([looks, self._last[0]])

    def _changes(self, near: np.ndarray, width: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities that a still object is carried from now on, and a carried one not."""
        start, stop = np.where(near, 1.0 - STAY, 0.0), np.where(near, 1.0 - STAY, 1.0)
        if width is not None:
            held = near[:, _VIAL] & (np.abs(width - VIAL_WIDTH) < HELD)
            start[:, _VIAL] = np.where(held, GRASPED, start[:, _VIAL])
            stop[:, _VIAL] = np.where(held, 1.0 - GRASPED, stop[:, _VIAL])
            free = width > VIAL_WIDTH + OPENED
            start[:, _VIAL] = np.where(free, 0.0, start[:, _VIAL])
            stop[:, _VIAL] = np.where(free, 1.0, stop[:, _VIAL])
        return start, stop

    def _predict(self, motion: np.ndarray, tip: np.ndarray, width: np.ndarray | None) -> None:
        estimate = (self._share[..., None] * self._mean).sum(axis=0)
        near = np.linalg.norm(estimate - tip[:, None], axis=-1) < REACH
        still, carried = self._share
        start, stop = self._changes(near, width)
        # shares of what each model was before, (new, old)
        came = np.stack(
            [
                np.stack([(1.0 - start) * still, stop * carried]),
                np.stack([start * still, (1.0 - stop) * carried]),
            ]
        )
        prior = came.sum(axis=1)
        came /= np.maximum(prior, 1e-12)[:, None]
        mean = np.einsum("abnk,bnkd->ankd", came, self._mean)
        spread = np.square(self._mean[None] - mean[:, None]).mean(axis=-1)
        variance = (came * (self._variance[None] + spread)).sum(axis=1)
        mean[1] += motion[:, None]
        slip = SLIP * np.linalg.norm(motion, axis=-1)[:, None]
        variance[0] += DRIFT**2
        variance[1] += DRIFT**2 + np.square(slip)
        self._mean, self._variance, self._share = mean, variance, prior

    def _correct(self, looks: np.ndarray, noise: np.ndarray, at: np.ndarray) -> None:
        total = self._variance + noise
        innovation = looks - self._mean
        square = np.square(innovation).sum(axis=-1)
        log_share = np.log(np.maximum(self._share, 1e-12)) - 0.5 * square / total
        log_share -= 1.5 * np.log(total)
        share = np.exp(log_share - log_share.max(axis=0))
        share /= share.sum(axis=0)
        overall = (self._share[..., None] * innovation).sum(axis=0)
        gain = (self._variance / total)[..., None]
        self._mean = np.where(at[..., None], self._mean + gain * innovation, self._mean)
        corrected = self._variance * (1.0 - gain[..., 0])
        self._variance = np.where(at, corrected, self._variance)
        self._share = np.where(at, share, self._share)
        self._restart(looks, overall, noise, at)

    def _restart(
        self, looks: np.ndarray, innovation: np.ndarray, noise: np.ndarray, at: np.ndarray
    ) -> None:
        """Begin anew where looks keep differing from what is expected."""
        mixed = MEMORY * self._innovation + (1.0 - MEMORY) * innovation
        self._innovation = np.where(at[..., None], mixed, self._innovation)
        spread = (1.0 - MEMORY) / (1.0 + MEMORY) * noise
        moved = at & (np.square(self._innovation).sum(axis=-1) > SURPRISE * spread)
        self._begin(looks, noise, moved)

    def _begin(self, positions: np.ndarray, variance: np.ndarray, at: np.ndarray) -> None:
        self._mean = np.where(at[..., None], positions, self._mean)
        self._variance = np.where(at, variance, self._variance)
        share = np.stack([np.ones_like(variance), np.zeros_like(variance)])
        self._share = np.where(at, share, self._share)
        self._innovation = np.where(at[..., None], 0.0, self._innovation)
