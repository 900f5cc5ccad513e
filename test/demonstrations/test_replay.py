"""Recorded commands, done again, lead to the recorded states."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_recordings import Script, write_recording

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.episode import episode_files
from moe_robot_control.demonstrations.replay import replay_episode


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operated")
    words = ["record", "--operator", "--skill", "push_button", "--episodes", "2"]
    assert main([*words, "--output", str(folder)]) == 0
    return folder


def test_the_same_comes_of_it(operated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in episode_files(operated):
        replay = replay_episode(path)
        assert replay.joints.max() < 1e-9 and replay.tips.max() < 1e-9
        assert replay.replayed is replay.recorded and replay.pauses == 0
    assert main(["demos", "replay", str(operated)]) == 0
    assert "push_button" in capsys.readouterr().out


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    write_recording(tmp_path / "real", Script(metadata={"skill": "unbox", "arm": "panda"}))
    with pytest.raises(EpisodeError, match="tells no seed"):
        replay_episode(tmp_path / "real")
    teacher = Path(__file__).parents[2] / "data/demonstrations/unbox"
    with pytest.raises(EpisodeError, match="a teacher's answers"):
        replay_episode(episode_files(teacher)[0])


def test_a_recording_of_the_graph(tmp_path: Path) -> None:
    """Motion that no bench has made: the differences are told, as is that nothing was done."""
    write_recording(tmp_path / "made_up", Script())
    replay = replay_episode(tmp_path / "made_up")
    assert replay.recorded is True and replay.replayed is False
    assert replay.tips.max() > 0.001
