"""Meta-World's MT10 (Yu et al. 2020) as a suite of tasks, stepped by processes of their own."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.task_suites import Step

if TYPE_CHECKING:
    from torch import Tensor

MT10 = (
    "reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "drawer-open-v3", "drawer-close-v3",
    "button-press-topdown-v3", "peg-insert-side-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip
PYTHON = Path(".venv-metaworld/bin/python")
"""Of the virtual environment that `make metaworld` builds."""
REWARD_SCALE = 0.1
"""Meta-World's rewards are up to 10 a step."""
WORKER = Path(__file__).with_name("metaworld_worker.py")
MT10_SEED = 0
"""Of the 50 goals of each task."""


class MetaworldSuite:
    """Tasks of MT10 with random goals, which the state tells ("MT10-Conditioned").

    An episode lasts 500 steps, success or not; what counts is whether it succeeded at any step.
    """

    num_inputs = 39
    num_actions = 4

    def __init__(
        self,
        num_envs: int,
        tasks: Sequence[str] = MT10,
        python: Path = PYTHON,
        num_processes: int | None = None,
    ) -> None:
        """Start the processes.

        Args:
            num_envs: of each task.
            tasks: out of `MT10`.
            python: interpreter that has `metaworld`.
            num_processes: among which the tasks are dealt out; by default one a core.

        Raises:
            TrainingError: unknown task, or no such interpreter.
        """
        unknown = set(tasks) - set(MT10)
        if unknown:
            raise TrainingError(f"unknown task {min(unknown)!r}: expected one of {', '.join(MT10)}")
        if not python.is_file():
            raise TrainingError(f"{python}: no such interpreter; `make metaworld` installs it")
        self.names, self.num_envs = tuple(tasks), num_envs
        count = min(num_processes or os.cpu_count() or 1, len(self.names))
        self._workers = [
            _Worker(python, num_envs, self.names[i::count], slice(i, None, count))
            for i in range(count)
        ]
        self._ended = np.zeros((len(self.names), num_envs), dtype=bool)

    @staticmethod
    def features(states: Tensor) -> Tensor:
        """The states as they are."""
        return states

    def reset(self, seed: int) -> np.ndarray:
        """Begin all episodes. Shape (M, n, 39)."""
        self._ended[:] = False
        request = b"r" + struct.pack("<q", seed)
        return self._ask(lambda rows: request)[..., :39]

    def step(self, actions: np.ndarray) -> Step:
        """Do `actions`, shape (M, n, 4)."""
        actions = np.clip(actions, -1.0, 1.0).astype("<f4")
        answer = self._ask(lambda rows: b"s" + actions[rows].tobytes())
        valid = ~self._ended
        self._ended = answer[..., 40] > 0.5
        return Step(
            states=answer[..., :39],
            rewards=REWARD_SCALE * answer[..., 39],
            terminated=np.zeros_like(valid),
            ended=self._ended.copy(),
            valid=valid,
            success=answer[..., 41] > 0.5,
        )

    def rest(self, which: np.ndarray) -> None:
        """See `TaskSuite`; all episodes are equally long here."""

    def teach(self) -> np.ndarray:
        """There is no teacher.

        Raises:
            TrainingError: always.
        """
        raise TrainingError("Meta-World's tasks have no teacher here: demonstrations must be 0")

    def _ask(self, request: Callable[[slice], bytes]) -> np.ndarray:
        for worker in self._workers:
            worker.send(request(worker.rows))
        found = np.empty((len(self.names), self.num_envs, 42), dtype=np.float32)
        for worker in self._workers:
            found[worker.rows] = worker.receive()
        return found


class _Worker:
    """A process that steps some of the tasks; it ends with its pipes."""

    def __init__(self, python: Path, num_envs: int, tasks: Sequence[str], rows: slice) -> None:
        self.rows, self._shape = rows, (len(tasks), num_envs, 42)
        command = [str(python), str(WORKER), str(num_envs), str(MT10_SEED), *tasks]
        # what is installed elsewhere must not reach it
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def send(self, request: bytes) -> None:
        try:
            self._requests.write(request)
            self._requests.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def receive(self) -> np.ndarray:
        size = 4 * int(np.prod(self._shape))
        answer = self._answers.read(size)
        if len(answer) < size:
            raise self._failure()
        return np.frombuffer(answer, "<f4").reshape(self._shape)

    def _failure(self) -> TrainingError:
        return TrainingError(f"Meta-World's process ended with status {self._process.wait()}")
