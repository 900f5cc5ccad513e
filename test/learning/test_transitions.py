"""Transitions from episodes, from a running graph, and through crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.transitions import Collector, TransitionLog, transitions_of
from moe_robot_control.policies.spaces import OBJECTS, SKILLS, Scene, expert_observation


def episode(steps: int, **metadata: str) -> Episode:
    rng = np.random.default_rng(steps)
    scene = Scene(
        rng.normal(size=(steps, 3)),
        rng.uniform(0, 0.08, steps),
        rng.normal(size=(steps, len(OBJECTS), 3)),
        np.ones((steps, len(OBJECTS)), dtype=bool),
    )
    actions = rng.uniform([-0.25] * 3 + [0.0], [0.25] * 3 + [0.08], (steps, 4))
    return Episode(np.arange(steps) * 0.05, scene, actions, np.zeros((steps, 7)), metadata)


def fill(log: TransitionLog, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        log.append(i // 5, np.full(3, i), np.full(2, -i), i % 2, np.full(3, i + 1), i % 5 == 4)


def test_success_ends_an_episode_and_time_does_not() -> None:
    episodes = [episode(5, success="True"), episode(7, success="False")]
    found = transitions_of(episodes, SKILLS[0])
    assert len(found.states) == 5 + 6
    assert found.rewards.tolist() == [0, 0, 0, 0, 1] + [0] * 6
    assert found.terminated.tolist() == found.rewards.tolist()
    assert found.succeeded.tolist() == [1] * 5 + [0] * 6
    first = torch.from_numpy(expert_observation(episodes[0].scene, SKILLS[0])).float()
    torch.testing.assert_close(found.states[:5], first)
    torch.testing.assert_close(found.next_states[:4], first[1:])
    assert found.actions.abs().max() <= 1.0
    np.testing.assert_allclose(found.actions[:5, :3], episodes[0].actions[:, :3] / 0.25, rtol=1e-5)


def test_episodes_must_say_how_they_ended() -> None:
    with pytest.raises(TrainingError, match="whether it succeeded"):
        transitions_of([episode(5)], SKILLS[0])
    with pytest.raises(TrainingError, match="no transitions"):
        transitions_of([episode(1, success="False")], SKILLS[0])


def test_the_log_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = TransitionLog(path, 3, 2)
    fill(log, 1500)
    log.close()
    again = TransitionLog(path, 3, 2)
    assert len(again) == 1500 and again.episodes == 300
    fill(again, 3, 1500)
    kept = again.transitions()
    assert kept.states[:, 0].tolist() == list(range(1503))
    assert kept.actions[:, 1].tolist() == [-i for i in range(1503)]
    assert kept.next_states[-1].tolist() == [1503] * 3
    assert kept.terminated[:5].tolist() == [0, 0, 0, 0, 1]
    again.close()


def test_an_episode_that_succeeds_has_done_so_from_its_first_step_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = TransitionLog(path, 3, 2)
    for episode, reward in ((0, 0.0), (1, 0.0), (1, 1.0), (2, 0.0)):
        log.append(episode, np.zeros(3), np.zeros(2), reward, np.zeros(3), reward > 0)
    for each in (log, TransitionLog(path, 3, 2)):
        assert each.transitions().succeeded.tolist() == [0, 1, 1, 0]
        assert each.transitions(np.array([3, 1])).succeeded.tolist() == [0, 1]


@pytest.mark.parametrize("cut", [1, 10, 45])
def test_half_a_transition_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    log = TransitionLog(path, 3, 2)
    fill(log, 4)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    again = TransitionLog(path, 3, 2)
    lost = 1 if cut < 44 else 2
    assert len(again) == 4 - lost
    fill(again, 1, 4 - lost)
    assert again.transitions().states[:, 0].tolist() == list(range(5 - lost))
    again.close()
    assert len(TransitionLog(path, 3, 2)) == 5 - lost


def test_a_file_cut_within_its_header_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    TransitionLog(path, 3, 2).close()
    path.write_bytes(path.read_bytes()[:5])
    assert len(TransitionLog(path, 3, 2)) == 0


@pytest.mark.parametrize("content", [b"something else altogether", None])
def test_other_files_are_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "log"
    if content is None:
        TransitionLog(path, 7, 2).close()
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="log: holds no transitions of 3 inputs"):
        TransitionLog(path, 3, 2)
    assert path.read_bytes() == content


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    source = f"""
import sys, numpy as np
from pathlib import Path
from moe_robot_control.learning.transitions import TransitionLog
log = TransitionLog(Path({str(path)!r}), 3, 2)
for i in range(10**6):
    log.append(0, np.full(3, i), np.zeros(2), 0, np.zeros(3), False)
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.stdout.read().splitlines() if line]
    process.wait()
    log = TransitionLog(path, 3, 2)
    # all that it told of, and at most the one that it had no time to tell
    assert len(told) <= len(log) <= len(told) + 1
    assert log.transitions().states[:, 0].tolist() == list(range(len(log)))


def test_stamps_bring_states_and_actions_together(tmp_path: Path) -> None:
    log = TransitionLog(tmp_path / "log", 1, 1)
    collector = Collector(log)
    collector.begin(7)
    collector.observe(10, np.array([1.0]))
    collector.act(10, np.array([0.1]))
    collector.act(10, np.array([0.9]))  # a repeated answer
    collector.observe(10, np.array([1.0]))
    collector.observe(20, np.array([2.0]))
    collector.observe(30, np.array([3.0]))  # nobody answered the one before
    collector.act(30, np.array([0.3]))
    collector.end(success=True, terminated=True)
    collector.begin(8)
    collector.act(10, np.array([0.5]))  # before its observation
    collector.observe(10, np.array([4.0]))
    collector.observe(20, np.array([5.0]))
    collector.act(20, np.array([0.6]))
    collector.end(success=False, terminated=False)
    kept = log.transitions()
    assert kept.states[:, 0].tolist() == [1.0, 3.0, 4.0]
    torch.testing.assert_close(kept.actions[:, 0], torch.tensor([0.1, 0.3, 0.5]))
    assert kept.next_states[:, 0].tolist() == [2.0, 3.0, 5.0]
    assert kept.rewards.tolist() == kept.terminated.tolist() == [0.0, 1.0, 0.0]
    assert log.episodes == 2


@pytest.mark.parametrize("success", [True, False])
def test_an_end_before_the_last_answer_is_the_last_actions(tmp_path: Path, success: bool) -> None:
    log = TransitionLog(tmp_path / "log", 1, 1)
    collector = Collector(log)
    collector.begin(0)
    for stamp in (10, 20):
        collector.observe(stamp, np.array([stamp]))
        collector.act(stamp, np.array([0.1]))
    collector.observe(30, np.array([30.0]))
    collector.end(success, terminated=True)
    collector.begin(1)
    collector.observe(10, np.array([1.0]))  # ended before anything was done: the other one's stays
    collector.end(not success, terminated=True)
    log.close()
    kept = TransitionLog(tmp_path / "log", 1, 1).transitions()
    assert kept.next_states[:, 0].tolist() == [20.0, 30.0]
    assert kept.rewards.tolist() == [0.0, float(success)]
    assert kept.terminated.tolist() == [0.0, 1.0]
    assert kept.succeeded.tolist() == [float(success)] * 2
