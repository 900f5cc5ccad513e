"""`moe-robot-control evaluate awac`: AWAC against its rivals."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate awac`."""
    parser.add_argument("--skill", action="append", help="only: rotate_door, ...; may be repeated")
    parser.add_argument("--method", action="append", help="only: awac, bc, ...; may be repeated")
    parser.add_argument("--episodes", type=int, default=100, help="of each policy")
    parser.add_argument("--trained", type=Path, default=Path("data/awac"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/awac"))
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")


def run(args: argparse.Namespace) -> int:
    """Measure what is trained, and write the report.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable policies.
    """
    # here, because other kinds of evaluation need no pictures
    from moe_robot_control.evaluation.awac_evaluation import evaluate

    return evaluate(args)
