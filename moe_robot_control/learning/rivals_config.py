"""Settings of AWAC's rivals: `config/training/rivals.yaml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_robot_control.learning.ppo import PpoConfig
from moe_robot_control.learning.sac import SacConfig
from moe_robot_control.learning.settings import (
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.share import share_path


@dataclass(frozen=True)
class RivalsConfig:
    """What the rivals do not share with AWAC.

    Attributes:
        sac_replay: own transitions that SAC keeps.
        sac, ppo: of those algorithms.
    """

    sac_replay: int
    sac: SacConfig
    ppo: PpoConfig


def load_rivals_config(
    path: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> RivalsConfig:
    """Read the settings.

    Args:
        path: instead of the package's `config/training/rivals.yaml`.
        overrides: come last.

    Raises:
        TrainingError: unreadable or malformed, or an unknown or missing key or a value of the
            wrong kind or out of range, which is named.
    """
    path = share_path("config/training/rivals.yaml") if path is None else path
    values = read_layers(path, {"defaults"})["defaults"] | (overrides or {})
    replay = {"sac_replay": values.pop("sac_replay", None)}
    sac = build_checked(SacConfig, take_prefixed(values, "sac_"), path, "sac_")
    ppo = build_checked(PpoConfig, take_prefixed(values, "ppo_"), path, "ppo_")
    parts = values | replay | {"sac": sac, "ppo": ppo}
    config = build_checked(RivalsConfig, parts, path)
    check_ranges(
        path,
        {
            "sac_replay": (config.sac_replay, 1, math.inf),
            "sac_batch": (sac.batch, 2, math.inf),
            "sac_gamma": (sac.gamma, 0, 1 - 1e-9),
            "ppo_gamma": (ppo.gamma, 0, 1 - 1e-9),
            "ppo_num_envs": (ppo.num_envs, 1, 1),
            "ppo_rollout_steps": (ppo.rollout_steps, 1, math.inf),
            "ppo_minibatch": (ppo.minibatch, 1, math.inf),
            "ppo_initial_std": (ppo.initial_std, 1e-3, 10),
        },
    )
    return config
