"""`moe-robot-control evaluate multitask`: Soft Modularization against its rivals."""

from __future__ import annotations

import argparse
from pathlib import Path

from moe_robot_control.learning.metaworld_suite import PYTHON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate multitask`."""
    parser.add_argument("--suite", action="append", help="only: bench or mt10")
    parser.add_argument("--method", action="append", help="only: soft_modular, multi_task, ...")
    parser.add_argument("--episodes", type=int, default=100, help="of each skill")
    parser.add_argument("--mt10-episodes", type=int, default=20, help="of each Meta-World task")
    parser.add_argument("--trained", type=Path, default=Path("data/multitask"))
    parser.add_argument("--mt10-trained", type=Path, default=Path("data/mt10"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/multitask"))
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    parser.add_argument(
        "--metaworld-python", type=Path, default=PYTHON, help="interpreter that has metaworld"
    )


def run(args: argparse.Namespace) -> int:
    """Measure what is trained, and write the report.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable models.
    """
    # here, because other kinds of evaluation need neither torch nor scikit-learn
    from moe_robot_control.evaluation.multitask_evaluation import evaluate

    return evaluate(args)
