"""The command `record`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.episode import load_episodes, read_episode
from moe_robot_control.policies.spaces import DECISION_PERIOD
from moe_robot_control.world.operators import SPEEDS

DEMONSTRATIONS = Path(__file__).resolve().parents[2] / "data/demonstrations/push_button"


def test_the_operators_episodes_hold_what_was_executed(tmp_path: Path) -> None:
    words = ["record", "--operator", "--skill", "push_button", "--episodes", "2"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    episodes = load_episodes(tmp_path / "push_button")
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.metadata["source"] == "operator"
        assert episode.metadata["success"] in ("True", "False")
        assert np.isin(np.abs(episode.actions[:, :3]).round(6), SPEEDS).all()
        # where the tip went is where the keys said
        moved = np.diff(episode.scene.end_effector, axis=0) / DECISION_PERIOD
        assert np.corrcoef(moved[:, 2], episode.actions[:-1, 2])[0, 1] > 0.5


def test_teachers_episodes_are_the_committed_ones(tmp_path: Path) -> None:
    words = ["record", "--skill", "push_button", "--episodes", "1", "--output", str(tmp_path)]
    assert main(words) == 0
    (folder,) = (tmp_path / "push_button").iterdir()
    written, committed = read_episode(folder), read_episode(DEMONSTRATIONS / folder.name)
    assert written.metadata["seed"] == committed.metadata["seed"]
    # arithmetic may differ from machine to machine
    np.testing.assert_allclose(written.actions, committed.actions, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--operator", "--gate"], "--operator is for skills"),
        (["--skill", "push_button", "--episodes", "0"], "--episodes"),
        (["--skill", "sing"], "unknown skill 'sing'"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", *words, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
