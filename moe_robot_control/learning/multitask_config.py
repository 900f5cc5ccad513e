"""Settings of multi-task training: `config/training/multitask.yaml`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moe_robot_control.learning.multitask import MultiTaskConfig, NetworkConfig
from moe_robot_control.learning.sac import SacConfig
from moe_robot_control.learning.settings import (
    TrainingError,
    build_checked,
    check_ranges,
    read_layers,
    take_prefixed,
)
from moe_robot_control.share import share_path

SUITES = ("bench", "mt10")
SINGLE = "single_task"
"""The method that has a network for each task."""


def load_multitask_config(
    method: str,
    suite: str = "bench",
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> MultiTaskConfig:
    """Read the settings of a method on a suite of tasks.

    Args:
        method: under the file's `methods`.
        suite: out of `SUITES`; under the file's `suites`.
        path: instead of the package's `config/training/multitask.yaml`.
        overrides: come last.

    Raises:
        TrainingError: unreadable, malformed, unknown method or suite, or an unknown or missing
            key or a value of the wrong kind, which is named.
    """
    path = share_path("config/training/multitask.yaml") if path is None else path
    layers = read_layers(path, {"defaults", "suites", "methods"})
    methods = layers["methods"]
    if method not in methods:
        raise TrainingError(f"unknown method {method!r}: expected one of {', '.join(methods)}")
    if suite not in SUITES:
        raise TrainingError(f"unknown suite {suite!r}: expected one of {', '.join(SUITES)}")
    values = layers["defaults"] | layers["suites"].get(suite, {}) | methods[method]
    values |= overrides or {}
    network = build_checked(NetworkConfig, take_prefixed(values, "network_"), path, "network_")
    sac = build_checked(SacConfig, take_prefixed(values, "sac_"), path, "sac_")
    config = build_checked(MultiTaskConfig, values | {"network": network, "sac": sac}, path)
    counts = {
        name: (getattr(config, name), 1, math.inf)
        for name in ("steps", "num_envs", "replay", "evaluate_every", "evaluation_episodes")
    }
    ranges = {
        "handed_over": (config.handed_over, 0, 1),
        "demonstrations": (config.demonstrations, 0, math.inf),
        "demonstration_noise": (config.demonstration_noise, 0, 1),
        "sac_gamma": (sac.gamma, 0, 1 - 1e-9),
        "sac_tau": (sac.tau, 1e-9, 1),
        "sac_batch": (sac.batch, 1, math.inf),
        "sac_final_learning_rate": (sac.final_learning_rate, 0, 1),
        "sac_cloning": (sac.cloning, 0, math.inf),
    }
    check_ranges(path, counts | ranges)
    return config
