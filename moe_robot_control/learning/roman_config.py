"""Settings of the hybrid learning procedure: `config/training/roman.yaml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_robot_control.learning.gail import GailConfig
from moe_robot_control.learning.ppo import PpoConfig
from moe_robot_control.learning.settings import (
    TrainingError,
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.share import share_path


@dataclass(frozen=True)
class HybridConfig:
    """One network's training; the YAML file says what the values mean.

    Attributes:
        steps: environment steps of reinforcement learning.
        bc_start: begin from behavioural cloning.
        bc_weight, bc_cut_off: weight of the cloning loss at first, and the step at which it has
            decayed to zero.
        intrinsic_weight, extrinsic_weight: w_I and w_E of r = w_I r_I + w_E r_E.
        absorbing: what is demonstrated to lead to success goes on to be rewarded after it.
        position_bias, position_noise, disturbed, handed_over: of the environment.
        scenarios: of which each episode of the whole bench draws one.
        top_k: gate weights that are kept.
        noisy_top_k: build the sparsely-gated network with that `top_k`.
        repeat: decisions of the arm for which an action is held.
        validate_every: rollouts between validations.
        validation_episodes: of each.
        ppo, gail: those of the algorithms.
    """

    steps: int
    bc_start: bool
    bc_weight: float
    bc_cut_off: int
    intrinsic_weight: float
    extrinsic_weight: float
    absorbing: bool
    position_bias: float
    position_noise: tuple[float, float]
    disturbed: float
    handed_over: float
    scenarios: tuple[int, ...]
    top_k: int
    noisy_top_k: bool
    repeat: int
    validate_every: int
    validation_episodes: int
    ppo: PpoConfig
    gail: GailConfig

    @property
    def rollout_length(self) -> int:
        """Environment steps of a rollout."""
        return self.ppo.num_envs * self.ppo.rollout_steps * self.repeat

    @property
    def rollouts(self) -> int:
        """How many rollouts the steps make."""
        return self.steps // self.rollout_length


def load_hybrid_config(
    name: str,
    path: Path | None = None,
    variant: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> HybridConfig:
    """Read the settings of one network.

    Args:
        name: a skill, `gate` or `monolithic`.
        path: instead of the package's `config/training/roman.yaml`.
        variant: an ablation under the file's `variants`.
        overrides: come last.

    Raises:
        TrainingError: unreadable, malformed, unknown variant, or an unknown or missing key or a
            value of the wrong kind, which is named.
    """
    path = share_path("config/training/roman.yaml") if path is None else path
    layers = read_layers(path, {"defaults", "networks", "variants"})
    unknown = layers["networks"].keys() - {*SKILLS, "gate", "monolithic"}
    if unknown:
        raise TrainingError(f"{path}: unknown network {min(map(str, unknown))!r}")
    variants = layers["variants"]
    if variant is not None and variant not in variants:
        raise TrainingError(f"unknown variant {variant!r}: expected one of {', '.join(variants)}")
    values = dict(layers["defaults"])
    for layer in (layers["networks"].get(name), variants.get(variant), overrides):
        values |= layer or {}
    ppo = build_checked(PpoConfig, take_prefixed(values, "ppo_"), path, "ppo_")
    gail = build_checked(GailConfig, take_prefixed(values, "gail_"), path, "gail_")
    for key in ("position_noise", "scenarios"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    config = build_checked(HybridConfig, values | {"ppo": ppo, "gail": gail}, path, "")
    _check(config, path)
    return config


def _check(config: HybridConfig, path: Path) -> None:
    noise, scenarios = config.position_noise, config.scenarios
    numbers = isinstance(noise, tuple) and all(isinstance(x, int | float) for x in noise)
    if not numbers or len(noise) != 2 or not 0 <= noise[0] <= noise[1]:
        raise TrainingError(f"{path}: position_noise must be a range, not {noise!r}")
    if not isinstance(scenarios, tuple) or not scenarios or not set(scenarios) <= set(range(1, 8)):
        raise TrainingError(f"{path}: scenarios must be numbers from 1 to 7, not {scenarios!r}")
    ppo, gail = config.ppo, config.gail
    ranges = {
        "steps": (config.steps, 0, math.inf),
        "bc_weight": (config.bc_weight, 0, math.inf),
        "bc_cut_off": (config.bc_cut_off, 0, math.inf),
        "intrinsic_weight": (config.intrinsic_weight, 0, math.inf),
        "extrinsic_weight": (config.extrinsic_weight, 0, math.inf),
        "position_bias": (config.position_bias, 0, math.inf),
        "disturbed": (config.disturbed, 0, 1),
        "handed_over": (config.handed_over, 0, 1),
        "top_k": (config.top_k, 1, len(SKILLS)),
        "repeat": (config.repeat, 1, math.inf),
        "validate_every": (config.validate_every, 1, math.inf),
        "validation_episodes": (config.validation_episodes, 1, math.inf),
        "ppo_num_envs": (ppo.num_envs, 1, math.inf),
        "ppo_rollout_steps": (ppo.rollout_steps, 1, math.inf),
        "ppo_epochs": (ppo.epochs, 1, math.inf),
        "ppo_minibatch": (ppo.minibatch, 1, math.inf),
        "ppo_gamma": (ppo.gamma, 0, 1 - 1e-9),
        "ppo_gae_lambda": (ppo.gae_lambda, 0, 1),
        "ppo_target_kl": (ppo.target_kl, 0, math.inf),
        "ppo_initial_std": (ppo.initial_std, 1e-6, math.inf),
        "ppo_exploration": (ppo.exploration, 0, 1),
        "gail_updates": (gail.updates, 1, math.inf),
        "gail_batch": (gail.batch, 1, math.inf),
    }
    check_ranges(path, ranges)
