"""`moe-robot-control train mix-and-match`."""

from __future__ import annotations

import argparse
from pathlib import Path

from moe_robot_control.learning.mix_and_match_config import CURRICULA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train mix-and-match`."""
    parser.add_argument("--curriculum", default="actions", help=f"one of {', '.join(CURRICULA)}")
    parser.add_argument(
        "--method", default="mix_and_match", help="of config/training/mix_and_match.yaml"
    )
    parser.add_argument("--skill", help="instead of the config's, where a curriculum has one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="environment steps instead of the config's")
    parser.add_argument("--output", type=Path, default=Path("data/mix_and_match"))
    parser.add_argument("--runs", type=Path, default=Path("runs/mix_and_match"), help="checkpoints")
    parser.add_argument("--config", type=Path, help="instead of config/training/mix_and_match.yaml")
    parser.add_argument("--threads", type=int, default=0, help="that step environments; 0: all")
    own = parser.add_argument_group("population-based training (--method population)")
    own.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    own.add_argument("--address", help="of a Ray cluster; this machine by default")
    own.add_argument(
        "--deterministic", action="store_true", help="one seed gives one lineage; slower"
    )


def run(args: argparse.Namespace) -> int:
    """Train the agents of one curriculum by one method.

    Raises:
        MoeRobotControlError: unknown curriculum, method or skill, unusable settings, workers that
            die over and over.
    """
    # here, because other trainings need no Ray
    from moe_robot_control.learning.mix_and_match_training import train

    return train(args)
