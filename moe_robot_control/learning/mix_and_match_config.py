"""Settings of Mix & Match: `config/training/mix_and_match.yaml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_robot_control.learning.mix_and_match import LearnerConfig
from moe_robot_control.learning.settings import (
    TrainingError,
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.share import share_path

CURRICULA = ("actions", "architecture", "multitask")
AGENTS = ("simple", "complex", "both")


@dataclass(frozen=True)
class MixAndMatchConfig:
    """The file says what they mean."""

    skill: str
    steps: int
    num_envs: int
    rollout_steps: int
    agents: str
    alpha_start: float
    alpha_end: float
    width: int
    complex_width: int
    initial_std: float
    coarse_std: float
    visible_steps: int
    placement_range: float
    handed_over: float
    demonstrations: int
    reward_scale: float
    evaluate_every: int
    evaluation_episodes: int
    learner: LearnerConfig


@dataclass(frozen=True)
class PopulationConfig:
    """Of population-based training; the file says what they mean."""

    members: int
    interval: int
    alpha_step: float
    factor: float
    significance: float
    scores: int


def load_mix_and_match_config(
    curriculum: str,
    method: str,
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[MixAndMatchConfig, PopulationConfig]:
    """Read the settings of a method in a curriculum.

    Args:
        curriculum: out of `CURRICULA`; under the file's `curricula`.
        method: under the file's `methods`.
        path: instead of the package's `config/training/mix_and_match.yaml`.
        overrides: come last.

    Raises:
        TrainingError: unreadable, malformed, unknown curriculum or method, or an unknown or
            missing key or a value of the wrong kind or out of range, which is named.
    """
    path = share_path("config/training/mix_and_match.yaml") if path is None else path
    layers = read_layers(path, {"defaults", "curricula", "methods"})
    if curriculum not in CURRICULA:
        raise TrainingError(
            f"unknown curriculum {curriculum!r}: expected one of {', '.join(CURRICULA)}"
        )
    methods = layers["methods"]
    if method not in methods:
        raise TrainingError(f"unknown method {method!r}: expected one of {', '.join(methods)}")
    values = layers["defaults"] | layers["curricula"].get(curriculum, {}) | methods[method]
    values |= overrides or {}
    population = build_checked(
        PopulationConfig, take_prefixed(values, "population_"), path, "population_"
    )
    learner = build_checked(LearnerConfig, take_prefixed(values, "learner_"), path, "learner_")
    config = build_checked(MixAndMatchConfig, values | {"learner": learner}, path)
    if config.agents not in AGENTS:
        raise TrainingError(f"{path}: agents must be one of {', '.join(AGENTS)}")
    at_least_one = (
        "steps", "num_envs", "rollout_steps", "width", "complex_width", "evaluate_every",
        "evaluation_episodes",
    )  # fmt: skip
    positive = (1e-9, math.inf)
    check_ranges(
        path,
        {name: (getattr(config, name), 1, math.inf) for name in at_least_one}
        | {
            "alpha_start": (config.alpha_start, 0, math.inf),
            "alpha_end": (config.alpha_end, config.alpha_start + 1e-6, math.inf),
            "initial_std": (config.initial_std, 0.05, 1.6),
            "coarse_std": (config.coarse_std, 1e-3, 1),
            "visible_steps": (config.visible_steps, 0, math.inf),
            "placement_range": (config.placement_range, *positive),
            "handed_over": (config.handed_over, 0, 1),
            "demonstrations": (config.demonstrations, 0, math.inf),
            "reward_scale": (config.reward_scale, *positive),
            "learner_epochs": (learner.epochs, 1, math.inf),
            "learner_minibatches": (learner.minibatches, 1, config.num_envs),
            "learner_learning_rate": (learner.learning_rate, *positive),
            "learner_final_learning_rate": (learner.final_learning_rate, 0, 1),
            "learner_gamma": (learner.gamma, 0, 1 - 1e-9),
            "learner_gae_lambda": (learner.gae_lambda, 0, 1),
            "learner_clip": (learner.clip, *positive),
            "learner_entropy_weight": (learner.entropy_weight, 0, math.inf),
            "learner_final_entropy_weight": (learner.final_entropy_weight, 0, 1),
            "learner_transfer_weight": (learner.transfer_weight, 0, math.inf),
            "learner_value_transfer_weight": (learner.value_transfer_weight, 0, math.inf),
            "learner_cloning_weight": (learner.cloning_weight, 0, math.inf),
            "learner_max_gradient_norm": (learner.max_gradient_norm, *positive),
            "learner_target_kl": (learner.target_kl, *positive),
            "population_members": (population.members, 2, math.inf),
            "population_interval": (population.interval, 1, math.inf),
            "population_alpha_step": (population.alpha_step, 0, 1),
            "population_factor": (population.factor, 1, math.inf),
            "population_significance": (population.significance, 0, 1),
            "population_scores": (population.scores, 2, math.inf),
        },
    )
    return config, population
