"""Transitions for offline and online reinforcement learning: from episodes, and kept on disk."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning.awac import Transitions
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.policies.spaces import ACTION_SIZE, expert_observation, unit_action

_MAGIC = b"MRCT0001"
_HEADER = struct.Struct("<8sII")


class TransitionLog:
    """Transitions in memory and, each as soon as it is there, at the end of a file.

    A process that is killed loses none that `append` returned from: the next one with the same
    file goes on with them. What was cut in the middle is dropped.
    """

    def __init__(self, path: Path, num_inputs: int, num_actions: int = ACTION_SIZE) -> None:
        """Open the file, or begin one.

        Args:
            path: of the file.
            num_inputs: length d of states.
            num_actions: length a of actions.

        Raises:
            TrainingError: the file is of something else.
        """
        self._dtype = np.dtype(
            [
                ("state", "<f4", num_inputs),
                ("action", "<f4", num_actions),
                ("reward", "<f4"),
                ("next_state", "<f4", num_inputs),
                ("terminated", "<f4"),
                ("episode", "<u4"),
            ]
        )
        header = _HEADER.pack(_MAGIC, num_inputs, num_actions)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        if content[: len(header)] != header[: len(content)]:
            raise TrainingError(f"{path}: holds no transitions of {num_inputs} inputs")
        count = max(0, len(content) - len(header)) // self._dtype.itemsize
        self._stream = path.open("r+b" if content else "wb", buffering=0)
        self._stream.write(header)
        self._stream.truncate(len(header) + count * self._dtype.itemsize)
        self._stream.seek(0, 2)
        known = np.frombuffer(content, self._dtype, count, len(header)) if count else []
        self._rows = np.zeros(max(1024, 2 * count), self._dtype)
        self._rows[:count] = known
        self._count = count

    def __len__(self) -> int:
        return self._count

    @property
    def episodes(self) -> int:
        """Number of episodes that transitions are of."""
        return len(np.unique(self._rows["episode"][: self._count]))

    def append(
        self,
        episode: int,
        state: np.ndarray,
        action: np.ndarray,
        reward: float,
        next_state: np.ndarray,
        terminated: bool,
    ) -> None:
        """Keep one transition."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = (state, action, reward, next_state, terminated, episode)
        self._stream.write(self._rows[self._count].tobytes())
        self._count += 1

    def end_last(self, reward: float) -> None:
        """The last transition turns out to have ended its episode, with this reward."""
        row = self._rows[self._count - 1 : self._count]
        row["reward"], row["terminated"] = reward, True
        self._stream.seek(-self._dtype.itemsize, 2)
        self._stream.write(row.tobytes())

    def transitions(self, which: np.ndarray | slice = slice(None)) -> Transitions:
        """Some of them, by their numbers; all by default."""
        known = self._rows[: self._count]
        rows = known[which]
        names = ("state", "action", "reward", "next_state", "terminated")
        columns = (torch.from_numpy(rows[name].copy()) for name in names)
        succeeded = np.isin(rows["episode"], known["episode"][known["reward"] > 0])
        shown = torch.zeros(len(rows))
        return Transitions(*columns, shown, torch.from_numpy(succeeded.astype(np.float32)))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def transitions_of(episodes: Sequence[Episode], skill: str) -> Transitions:
    """Those of recorded episodes of a skill: reward 1 at success, which ends the episode.

    The last step of an episode that ran out of time has no successor and is left out.

    Args:
        episodes: with the actions as executed; `success` in their metadata.
        skill: whose observations.

    Raises:
        TrainingError: an episode does not say whether it succeeded, or there is no transition.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for episode in episodes:
        success = episode.metadata.get("success")
        if success not in ("True", "False"):
            raise TrainingError("an episode does not say whether it succeeded")
        states = expert_observation(episode.scene, skill)
        actions = np.clip(unit_action(episode.actions), -1.0, 1.0)
        # at success what follows does not count
        following = np.concatenate([states[1:], states[-1:]])
        last = np.arange(len(states)) == len(states) - 1
        done = last & (success == "True")
        kept = done | ~last
        reached = np.full(kept.sum(), success == "True")
        parts.append(
            (states[kept], actions[kept], done[kept], following[kept], done[kept], reached)
        )
    if not sum(len(part[0]) for part in parts):
        raise TrainingError("no transitions in these episodes")
    joined = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    *columns, succeeded = (torch.from_numpy(column.astype(np.float32)) for column in joined)
    return Transitions(*columns, torch.ones(len(succeeded)), succeeded)


class Collector:
    """Makes transitions of observations and actions as they come, by their stamps."""

    def __init__(self, log: TransitionLog) -> None:
        """Append to `log`."""
        self._log = log
        self._states: dict[int, np.ndarray] = {}
        self._actions: dict[int, np.ndarray] = {}
        self._episode = 0
        self._last: int | None = None
        self._lived = False

    def begin(self, episode: int) -> None:
        """What comes from here on belongs to `episode`."""
        self._episode = episode
        self._states.clear()
        self._actions.clear()
        self._last, self._lived = None, False

    def observe(self, stamp: int, state: np.ndarray) -> None:
        """A state was seen; repeated stamps and older ones count once."""
        if self._last is not None and stamp <= self._last:
            return
        if self._last is not None and self._last in self._actions:
            self._append(self._last, 0.0, state, False)
        self._last = stamp
        self._states = {stamp: np.asarray(state, dtype=np.float32)}
        self._actions = {s: action for s, action in self._actions.items() if s >= stamp}

    def act(self, stamp: int, action: np.ndarray) -> None:
        """An action in [-1, 1] was taken in answer to the state of that stamp."""
        if self._last is None or stamp >= self._last:
            self._actions.setdefault(stamp, np.asarray(action, dtype=np.float32))

    def end(self, success: bool, terminated: bool) -> None:
        """The episode has ended, by the last action: that of the last state, or, where nobody has
        answered that one yet, the one that led to it.

        Args:
            success: with reward 1.
            terminated: by success or failure; otherwise it ran out of time.
        """
        if terminated and self._last is not None:
            if self._last in self._actions:
                self._append(self._last, float(success), self._states[self._last], True)
            elif self._lived:
                self._log.end_last(float(success))
        self._last = None

    def _append(self, stamp: int, reward: float, following: np.ndarray, terminated: bool) -> None:
        state, action = self._states[stamp], self._actions[stamp]
        self._log.append(self._episode, state, action, reward, following, terminated)
        self._lived = True
