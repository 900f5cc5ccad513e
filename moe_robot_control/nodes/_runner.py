"""Runs nodes until a signal; expected errors become one line and a non-zero exit status."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rclpy
import yaml
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._lifecycle import ManagedNode
from moe_robot_control.nodes.executor import LeanExecutor

EXIT_BAD_INPUT = 2
_SAME_SIGNAL = 0.8
"""Signals within so long of the first are taken for its echo [s]: enough to come to rest in."""


class ParametersFileError(MoeRobotControlError):
    """A parameters file cannot be read."""


def run_nodes(
    builders: Sequence[Callable[[], Node]], name: str, argv: Sequence[str] | None = None
) -> int:
    """Build nodes and spin them in one executor until SIGINT or SIGTERM.

    Nodes with a method `come_to_rest` are told to do so before they end.

    Args:
        builders: each makes one node, after rclpy is initialised.
        name: begins the line about an error.
        argv: command line (that of the process by default).

    Returns:
        Exit status: 0 after a signal, 2 after bad input (one line on stderr tells what).
    """
    argv = list(sys.argv if argv is None else argv)
    nodes: list[Node] = []
    try:
        check_parameter_files(argv)
        # rclpy's own handlers would end the context, and with it the last commands, at once
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        executor = LeanExecutor()
        with _signals_end(executor):
            for build in builders:
                node = build()
                nodes.append(node)
                executor.add_node(node)
            for node in nodes:
                if isinstance(node, ManagedNode):
                    node.start()
            # what is there now stays: collections that looked at it again would delay ticks
            gc.collect()
            gc.freeze()
            executor.spin()
            for node in nodes:
                rest = getattr(node, "come_to_rest", None)
                if rest is not None:
                    rest()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (MoeRobotControlError, ParameterException) as error:
        return complain(name, error)
    except RuntimeError as error:
        # rclpy's complaints about arguments and names are RuntimeErrors of a private module;
        # after a signal they only tell that the context is gone
        if not type(error).__module__.startswith("rclpy"):
            raise
        if rclpy.ok() or not nodes:
            text = f"ROS arguments: {error}"
            return complain(name, RuntimeError(text))
    finally:
        for node in nodes:
            close = getattr(node, "close", None)
            if close is not None:
                close()
        rclpy.try_shutdown()
    return 0


@contextmanager
def _signals_end(executor: LeanExecutor) -> Iterator[None]:
    """SIGINT and SIGTERM let the executor return meanwhile; a later second one interrupts.

    One that follows at once does not: the kernel tells of a launcher's death once for each of its
    threads, and that must not keep an arm from coming to rest.
    """
    asked: float | None = None

    def on_signal(number: int, _: object) -> None:
        nonlocal asked
        now = time.monotonic()
        if asked is None:
            asked = now
            executor.stop_spinning()
        elif now - asked > _SAME_SIGNAL:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_parameter_files(argv: Sequence[str]) -> None:
    """Read every `--params-file` in `argv`, whose faults rcl explains in many lines.

    Raises:
        ParametersFileError: a file is missing, malformed or of another structure.
    """
    for flag, value in itertools.pairwise(argv):
        if flag != "--params-file":
            continue
        path = Path(value)
        try:
            tree = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ParametersFileError(f"{path}: cannot be read: {reason}") from error
        except yaml.YAMLError as error:
            line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
            raise ParametersFileError(f"{path}: malformed YAML at line {line}") from error
        if not isinstance(tree, dict) or not _has_parameters(tree):
            raise ParametersFileError(
                f"{path}: not a parameters file: expected '<node>: ros__parameters: ...'"
            )


def _has_parameters(tree: dict) -> bool:
    if "ros__parameters" in tree:
        return isinstance(tree["ros__parameters"], dict)
    children = [value for value in tree.values() if isinstance(value, dict)]
    return len(children) == len(tree) > 0 and all(map(_has_parameters, children))


def complain(name: str, error: Exception) -> int:
    """Tell of an error in one line on stderr; returns the exit status."""
    print(f"{name}: {str(error).strip().splitlines()[0]}", file=sys.stderr, flush=True)
    return EXIT_BAD_INPUT
