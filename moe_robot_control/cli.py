"""The console command `moe-robot-control`: one sub-command a task."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from moe_robot_control.errors import MoeRobotControlError

PROGRAM = "moe-robot-control"

# name: (module with add_arguments(parser) and run(args) -> int, help);
# imported only when chosen: rclpy and torch take seconds and need not be installed
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("moe_robot_control.nodes.up", "run the graph"),
    "doctor": ("moe_robot_control.doctor.command", "check a robot before it moves"),
    "teleop": ("moe_robot_control.nodes.teleop", "move the arm or gate experts by hand"),
    "console": ("moe_robot_control.nodes.console", "serve the operator's web page"),
    "demo": ("moe_robot_control.nodes.demo", "run scenarios, print a table, write a film"),
    "record": (
        "moe_robot_control.learning.record_demonstrations",
        "record the scripted teachers' demonstrations",
    ),
    "demos": (
        "moe_robot_control.demos_cli",
        "check, show, repair, merge and split recorded episodes",
    ),
    "train": (
        "moe_robot_control.learning.train_cli",
        "train experts, the gate, perception or multi-task policies",
    ),
    "finetune": (
        "moe_robot_control.nodes.finetune",
        "improve one expert by its own experience through the graph",
    ),
    "evaluate": (
        "moe_robot_control.evaluation.evaluate_cli",
        "measure success over many episodes, or perception",
    ),
}

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit status: the sub-command's own; 2 after an expected error, which is one line on
        stderr; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _parser(words)
        options = parser.parse_args(words)
        return options.run(options)
    except MoeRobotControlError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="One arm, many skills.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, (module_name, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        if name == chosen:
            module = _load(name, module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _load(name: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise MoeRobotControlError(
            f"{name}: needs the Python module {error.name}, which is not installed"
        ) from error


def _version() -> str:
    try:
        return version("moe_robot_control")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
