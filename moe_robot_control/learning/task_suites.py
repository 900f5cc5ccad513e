"""Several tasks learned at once: environments of each, stepped together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

DEMONSTRATION_SEED = 1_000_000
"""Demonstrations use the seeds from here on, as recorded ones do."""
EVALUATION_SEED = 2_000_000
"""Evaluations while training use the seeds from here on: neither demonstrated nor tested."""


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

    def rest(self, which: np.ndarray) -> None:
        """These environments, (M, n), need not be stepped until all are reset.

        What `step` says of them means nothing.
        """

    def teach(self) -> np.ndarray:
        """What a teacher would do now, in [-1, 1]. Shape (M, n, a).

        Raises:
            TrainingError: these tasks have no teacher.
        """


def run_episodes(
    suite: TaskSuite, policy: Callable[[np.ndarray], np.ndarray], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Step]]:
    """Run one episode in every environment to its end.

    Args:
        suite: of M tasks with n environments each.
        policy: from states (M, n, d) to actions (M, n, a).
        seed: of the episodes.

    Yields:
        For every step which episodes it belongs to, (M, n), the states before it, the actions,
        and what they led to.
    """
    states = suite.reset(seed)
    running = np.ones(states.shape[:2], dtype=bool)
    while running.any():
        actions = policy(states)
        step = suite.step(actions)
        yield running.copy(), states, actions, step
        states = step.states
        running &= ~step.ended
        suite.rest(~running)


def success_of(
    suite: TaskSuite, policy: Callable[[np.ndarray], np.ndarray], seed: int
) -> np.ndarray:
    """Share of `run_episodes` that succeed at any step. Shape (M,)."""
    success = np.zeros((len(suite.names), suite.num_envs), dtype=bool)
    for running, _, _, step in run_episodes(suite, policy, seed):
        success |= step.success & running
    return success.mean(axis=1)
