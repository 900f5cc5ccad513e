"""Settings of offline pre-training and fine-tuning: `config/training/awac.yaml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_robot_control.learning.awac import DISTRIBUTIONS, WEIGHTINGS, AwacConfig
from moe_robot_control.learning.settings import (
    TrainingError,
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.policies.spaces import SKILLS, check_skill
from moe_robot_control.share import share_path


@dataclass(frozen=True)
class FineTuningConfig:
    """One fine-tuning.

    Attributes:
        network_width, network_depth: of policy and critics.
        policy_distribution: of actions about the policy's centre, out of `DISTRIBUTIONS`.
        offline_updates: before the first online episode.
        updates_per_step: for each transition of an online episode.
        online_share: of every batch, once there are own transitions.
        keyframe_share: of the recorded transitions of every batch: those about which the gripper
            was opened or closed.
        exploration_share: of the policy's spread, the standard deviation of online actions. The
            spread that imitation learns tells of what differed between demonstrations; drawn anew
            at every step it lets go of what is held.
        exploration_speed: least standard deviation of velocities when exploring, as a share of
            full speed.
        evaluate_every: online episodes.
        evaluation_episodes: of each evaluation.
        tolerated_loss: of success, against the best policy; more is rolled back.
        average_decay: of the moving average of the policy's parameters, which acts.
        awac: of the algorithm.
    """

    network_width: int
    network_depth: int
    policy_distribution: str
    offline_updates: int
    updates_per_step: float
    online_share: float
    keyframe_share: float
    exploration_share: float
    exploration_speed: float
    evaluate_every: int
    evaluation_episodes: int
    tolerated_loss: float
    average_decay: float
    awac: AwacConfig


def load_fine_tuning_config(
    skill: str, path: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> FineTuningConfig:
    """Read the settings of a skill.

    Args:
        skill: out of `SKILLS`.
        path: instead of the package's `config/training/awac.yaml`.
        overrides: come last.

    Raises:
        TrainingError: unreadable or malformed, or an unknown or missing key or a value of the
            wrong kind or out of range, which is named.
        UnknownSkillError: no such skill.
    """
    path = share_path("config/training/awac.yaml") if path is None else path
    layers = read_layers(path, {"defaults", "skills"})
    unknown = layers["skills"].keys() - set(SKILLS)
    if unknown:
        raise TrainingError(f"{path}: unknown skill {min(map(str, unknown))!r}")
    values = layers["defaults"] | layers["skills"].get(check_skill(skill), {})
    values |= overrides or {}
    awac = build_checked(AwacConfig, take_prefixed(values, "awac_"), path, "awac_")
    config = build_checked(FineTuningConfig, values | {"awac": awac}, path)
    if awac.weighting not in WEIGHTINGS:
        raise TrainingError(f"{path}: awac_weighting must be one of {', '.join(WEIGHTINGS)}")
    if config.policy_distribution not in DISTRIBUTIONS:
        raise TrainingError(
            f"{path}: policy_distribution must be one of {', '.join(DISTRIBUTIONS)}"
        )
    counts = {
        name: (getattr(config, name), 1, math.inf)
        for name in ("network_width", "network_depth", "evaluate_every", "evaluation_episodes")
    }
    ranges = {
        "offline_updates": (config.offline_updates, 0, math.inf),
        "updates_per_step": (config.updates_per_step, 0, math.inf),
        "online_share": (config.online_share, 0, 1),
        "keyframe_share": (config.keyframe_share, 0, 1),
        "exploration_share": (config.exploration_share, 0, math.inf),
        "exploration_speed": (config.exploration_speed, 0, 1),
        "tolerated_loss": (config.tolerated_loss, 0, 1),
        "average_decay": (config.average_decay, 0, 1 - 1e-9),
        "awac_gamma": (awac.gamma, 0, 1 - 1e-9),
        "awac_tau": (awac.tau, 1e-9, 1),
        "awac_learning_rate": (awac.learning_rate, 1e-9, 1),
        "awac_policy_weight_decay": (awac.policy_weight_decay, 0, math.inf),
        "awac_batch": (awac.batch, 1, math.inf),
        "awac_temperature": (awac.temperature, 1e-6, math.inf),
        "awac_max_weight": (awac.max_weight, 1e-6, math.inf),
        "awac_min_weight": (awac.min_weight, 0, awac.max_weight),
        "awac_value_samples": (awac.value_samples, 1, math.inf),
        "awac_highest_return": (awac.highest_return, awac.lowest_return, math.inf),
    }
    check_ranges(path, counts | ranges)
    return config
