"""`moe-robot-control evaluate mix-and-match`: curricula of agents against their parts."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate mix-and-match`."""
    parser.add_argument("--curriculum", action="append", help="only this one; may be repeated")
    parser.add_argument("--method", action="append", help="only this one; may be repeated")
    parser.add_argument("--episodes", type=int, default=100, help="of each task, for each training")
    parser.add_argument("--trained", type=Path, default=Path("data/mix_and_match"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/mix_and_match"))
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")


def run(args: argparse.Namespace) -> int:
    """Measure what is trained, and write the report.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable agents.
    """
    # here, because other kinds of evaluation need no pictures
    from moe_robot_control.evaluation.mix_and_match_evaluation import evaluate

    return evaluate(args)
