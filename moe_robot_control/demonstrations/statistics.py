"""Figures of data sets, by what their episodes show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from moe_robot_control.demonstrations.checks import EpisodeReport, label_of
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, DECISION_PERIOD

ACTIONS = ("vx [m/s]", "vy [m/s]", "vz [m/s]", "gripper [m]")


@dataclass(frozen=True)
class SetStatistics:
    """Of the readable episodes of one skill or scenario.

    Attributes:
        episodes: how many.
        successes, failures: those that tell so.
        steps: of all of them.
        shortest, median, longest: episode [s].
        operator: share of steps that an operator commanded, of those that tell.
        mean, std, lowest, highest: of the actions [m/s], [m/s], [m/s], [m]. Shape (4,).
        saturated: share of steps at a limit of the action. Shape (4,).
    """

    episodes: int
    successes: int
    failures: int
    steps: int
    shortest: float
    median: float
    longest: float
    operator: float
    mean: np.ndarray
    std: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    saturated: np.ndarray


def statistics_of(reports: Iterable[EpisodeReport]) -> dict[str, SetStatistics]:
    """Statistics by skill or scenario, in the order of their names."""
    groups: dict[str, list[EpisodeReport]] = defaultdict(list)
    for report in reports:
        if report.episode is not None:
            groups[label_of(report.metadata)].append(report)
    return {label: _of_group(groups[label]) for label in sorted(groups)}


def _of_group(reports: list[EpisodeReport]) -> SetStatistics:
    episodes = [report.episode for report in reports]
    told = [episode.metadata.get("success") for episode in episodes]
    lengths = np.array([len(episode) for episode in episodes]) * DECISION_PERIOD
    actions = np.concatenate([episode.actions for episode in episodes])
    operators = [each.operator for each in episodes if each.operator is not None]
    room = 1e-3 * (ACTION_HIGH - ACTION_LOW)
    at_limit = (actions <= ACTION_LOW + room) | (actions >= ACTION_HIGH - room)
    return SetStatistics(
        episodes=len(episodes),
        successes=told.count("True"),
        failures=told.count("False"),
        steps=len(actions),
        shortest=float(lengths.min()),
        median=float(np.median(lengths)),
        longest=float(lengths.max()),
        operator=float(np.concatenate(operators).mean()) if operators else float("nan"),
        mean=actions.mean(axis=0),
        std=actions.std(axis=0),
        lowest=actions.min(axis=0),
        highest=actions.max(axis=0),
        saturated=at_limit.mean(axis=0),
    )
