"""Several tasks learned at once: environments of each, stepped together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor


@dataclass
class Step:
    """What one step of M tasks with n environments each led to; arrays lead with (M, n).

    Attributes:
        states: after the step, even where an episode ended. Shape (M, n, d).
        rewards: of the step.
        terminated: the episode ended by itself: nothing follows.
        ended: terminated or truncated; the next step begins another episode.
        valid: false for steps that only began an episode.
        success: the task was done.
    """

    states: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray
    valid: np.ndarray
    success: np.ndarray


class TaskSuite(Protocol):
    """M tasks whose states and actions have the same length.

    Attributes:
        names: of the tasks.
        num_envs: environments n of each.
        num_inputs, num_actions: lengths d and a of states and actions.
        features: what networks make of a state first. (b, d) -> (b, f).
    """

    names: tuple[str, ...]
    num_envs: int
    num_inputs: int
    num_actions: int
    features: Callable[[Tensor], Tensor]

    def reset(self, seed: int) -> np.ndarray:
        """Begin all episodes; equal seeds give equal ones. Shape (M, n, d)."""

    def step(self, actions: np.ndarray) -> Step:
        """Do `actions` in [-1, 1], shape (M, n, a)."""

    def teach(self) -> np.ndarray:
        """What a teacher would do now, in [-1, 1]. Shape (M, n, a).

        Raises:
            TrainingError: these tasks have no teacher.
        """
