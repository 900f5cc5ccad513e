import json
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.cli import main
from moe_robot_control.evaluation.policies_in_simulation import run_in_simulation, teacher
from moe_robot_control.policies.spaces import Scene


def test_teacher_presses_the_button(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "teacher.json"
    words = ["evaluate", "--simulation", "--teacher", "--skill", "push_button"]
    assert main([*words, "--episodes", "3", "--seed", "40", "--json", str(path)]) == 0
    assert "100%" in capsys.readouterr().out
    written = json.loads(path.read_text())
    assert written["summary"] == [{"task": "push_button", "success": 3, "episodes": 3}]
    assert [episode["seed"] for episode in written["episodes"]] == [40, 41, 42]
    assert {episode["state"] for episode in written["episodes"]} == {"succeeded"}


def test_doing_nothing_times_out() -> None:
    def idle(scene: Scene, stage: np.ndarray) -> np.ndarray:
        return np.zeros((len(stage), 4))

    outcomes = run_in_simulation(idle, [1, 2], skill="push_button", max_steps=20)
    assert [outcome.state for outcome in outcomes] == ["timed_out"] * 2
    assert [outcome.time for outcome in outcomes] == [1.0] * 2
    assert [outcome.stages_done for outcome in outcomes] == [0, 0]


def test_batch_size_does_not_matter() -> None:
    together = run_in_simulation(teacher(), [7, 8], skill="push_button", position_bias=0.002)
    alone = run_in_simulation(teacher(), [8], skill="push_button", position_bias=0.002)
    assert together[1] == alone[0]


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--skill", "fold_laundry"], "fold_laundry"),
        (["--scenario", "9"], "scenario 9"),
        (["--episodes", "0"], "--episodes"),
        (["--seed", "1000000"], "--seed"),
        (["--seed", "-1"], "--seed"),
        (["--top-k", "8"], "--top-k"),
        (["--position-bias", "-0.1"], "--position-bias"),
        (["--skill", "unbox", "--models", "/nowhere"], "/nowhere/unbox.onnx"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], culprit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--simulation", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert culprit in error
    assert error.count("\n") == 1


def test_teacher_needs_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--teacher"]) == 2
    assert "--simulation" in capsys.readouterr().err
