"""Settings of the hybrid learning procedure: `config/training/roman.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from moe_robot_control.learning.gail import GailConfig
from moe_robot_control.learning.ppo import PpoConfig
from moe_robot_control.learning.settings import TrainingError
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
        position_bias, position_noise, disturbed: of the environment.
        top_k: gate weights that are kept.
        repeat: decisions for which an action drawn in training is held.
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
    top_k: int
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
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise TrainingError(f"{path}: malformed YAML") from error
    if not isinstance(tree, dict) or not {"defaults", "networks", "variants"} >= tree.keys():
        raise TrainingError(f"{path}: expected the keys defaults, networks and variants")
    variants = tree.get("variants") or {}
    if variant is not None and variant not in variants:
        raise TrainingError(f"unknown variant {variant!r}: expected one of {', '.join(variants)}")
    values = dict(tree.get("defaults") or {})
    layers = (tree.get("networks") or {}).get(name), variants.get(variant), overrides
    for layer in layers:
        values |= layer or {}
    ppo = _build(PpoConfig, _take(values, "ppo_"), path, "ppo_")
    gail = _build(GailConfig, _take(values, "gail_"), path, "gail_")
    if "position_noise" in values:
        values["position_noise"] = tuple(values["position_noise"])
    config = _build(HybridConfig, values | {"ppo": ppo, "gail": gail}, path, "")
    if config.steps < 0 or not 1 <= config.top_k <= 7 or not 0 <= config.disturbed <= 1:
        raise TrainingError(f"{path}: steps, top_k or disturbed is out of range")
    if not 0 <= config.ppo.gamma < 1 or not 0 <= config.ppo.gae_lambda <= 1:
        raise TrainingError(f"{path}: ppo_gamma or ppo_gae_lambda is out of range")
    return config


def _take(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    found = {key: values.pop(key) for key in list(values) if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in found.items()}


def _build(kind: type, values: dict[str, Any], path: Path, prefix: str) -> Any:
    names = {field.name for field in fields(kind)}
    if values.keys() != names:
        wrong = min(map(str, values.keys() ^ names))
        raise TrainingError(f"{path}: unknown or missing key '{prefix}{wrong}'")
    for field in fields(kind):
        value = values[field.name]
        wanted = {"int": int, "float": (int, float), "bool": bool}.get(str(field.type))
        if wanted and (not isinstance(value, wanted) or (bool is not wanted and value is True)):
            raise TrainingError(f"{path}: {prefix}{field.name} must be {field.type}, not {value!r}")
    return kind(**values)
