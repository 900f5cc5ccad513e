"""Arms for tests: those of the package, and harder ones made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig, Box
from moe_robot_control.share import share_path

NAMES = sorted(path.stem for path in share_path("config/arms").glob("*.yaml"))


def with_post(arm: ArmConfig) -> ArmConfig:
    """A post and a shelf stand within the workspace."""
    post = Box(np.array([0.50, 0.05, 0.0]), np.array([0.56, 0.12, 0.2]))
    shelf = Box(np.array([0.30, -0.35, 0.20]), np.array([0.50, -0.25, 0.22]))
    return replace(arm, keep_out={"post": post, "shelf": shelf})


def with_low_jerk(arm: ArmConfig) -> ArmConfig:
    """Acceleration takes several ticks to build up."""
    return replace(arm, joint_jerk=arm.joint_acceleration / 0.045)


def unbounded(arm: ArmConfig) -> ArmConfig:
    """The workspace holds back from nothing: table, base and singularities are in reach."""
    wide = np.array([2.0, 2.0, 2.0])
    return replace(arm, workspace_lower=-wide, workspace_upper=wide)


VARIANTS = {
    f"{name}{suffix}": change(ArmConfig.load(name))
    for name in NAMES
    for suffix, change in {
        "": lambda arm: arm,
        " with keep-out boxes": with_post,
        " with low jerk": lambda arm: with_post(with_low_jerk(arm)),
        " without walls": unbounded,
    }.items()
}
