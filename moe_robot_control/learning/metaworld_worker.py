"""Steps Meta-World tasks for another process; runs where `metaworld` is installed.

It imports nothing of this package, since Meta-World needs a MuJoCo
of its own and thus another virtual environment (`make metaworld`).

    python metaworld_worker.py ENVS SEED TASK...

For each of the tasks, ENVS environments; all arrays are little-endian float32. A request is one
byte, `r` to begin all episodes anew, followed by a seed (8 bytes), or `s` to step, followed by the
actions (tasks, envs, 4). The answer is (tasks, envs, 42): state, reward, end of the episode,
success. A step after the end only begins another episode.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

STATE_SIZE = 39
ACTION_SIZE = 4


class Slot:
    """One environment, which begins each episode with a goal drawn from its task's."""

    def __init__(self, make: type, goals: list[Any]) -> None:
        self._env, self._goals = make(), goals
        self._rng = np.random.default_rng(0)
        self._ended = True

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin an episode; the following ones draw from `rng`, too."""
        self._rng = rng
        return self._begin()

    def step(self, action: np.ndarray) -> np.ndarray:
        """State, reward, end, success. Shape (42,)."""
        if self._ended:
            return self._begin()
        state, reward, _, truncated, info = self._env.step(action)
        self._ended = bool(truncated)
        return np.concatenate([state, [reward, truncated, info["success"]]])

    def _begin(self) -> np.ndarray:
        self._env.set_task(self._goals[self._rng.integers(len(self._goals))])
        self._ended = False
        return np.concatenate([self._env.reset()[0], np.zeros(3)])


def serve(requests: BinaryIO, answers: BinaryIO, slots: list[list[Slot]]) -> None:
    """Answer until the other end closes."""
    count = len(slots[0])
    size = len(slots) * count * ACTION_SIZE * 4
    while kind := requests.read(1):
        if kind == b"r":
            (seed,) = struct.unpack("<q", requests.read(8))
            rows = [
                [slot.reset(np.random.default_rng([seed, i, j])) for j, slot in enumerate(task)]
                for i, task in enumerate(slots)
            ]
        else:
            actions = np.frombuffer(requests.read(size), "<f4")
            actions = actions.reshape(len(slots), count, ACTION_SIZE)
            rows = [
                [slot.step(action) for slot, action in zip(task, own, strict=True)]
                for task, own in zip(slots, actions, strict=True)
            ]
        answers.write(np.asarray(rows, dtype="<f4").tobytes())
        answers.flush()


def main(arguments: list[str]) -> None:
    """Build the environments and serve on standard input and output."""
    # what libraries print, on import already, must not come between the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import metaworld

    count, seed, names = int(arguments[0]), int(arguments[1]), arguments[2:]
    tasks = metaworld.MT10(seed=seed)
    slots = []
    for name in names:
        goals = [task for task in tasks.train_tasks if task.env_name == name]
        slots.append([Slot(tasks.train_classes[name], goals) for _ in range(count)])
    serve(sys.stdin.buffer, answers, slots)


if __name__ == "__main__":
    main(sys.argv[1:])
