import json
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.cli import main
from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.evaluation.policies_in_simulation import run_in_simulation, teacher
from moe_robot_control.evaluation.report import summarise, wilson, write_page
from moe_robot_control.policies.spaces import Scene
from moe_robot_control.world.observers import ErrorModel


def test_teacher_presses_the_button(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "teacher.json"
    words = ["evaluate", "--simulation", "--teacher", "--skill", "push_button"]
    words += ["--episodes", "3", "--seed", "40", "--json", str(path), "--out", str(tmp_path)]
    assert main(words) == 0
    assert "3/3" in capsys.readouterr().out
    written = json.loads(path.read_text())
    (row,) = written["summary"]
    assert (row["task"], row["success"], row["episodes"]) == ("push_button", 3, 3)
    assert row["seeds"] == [40, 42] and row["stopped_at"] == {}
    assert [episode["seed"] for episode in written["episodes"]] == [40, 41, 42]
    assert {episode["state"] for episode in written["episodes"]} == {"succeeded"}
    assert "| push_button | 40-42 | 3/3 |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "success.png").read_bytes().startswith(b"\x89PNG")


def test_one_network_does_a_skill_and_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--simulation", "--policy", "mix_and_match", "--episodes", "3"]
    assert main([*words, "--skill", "pull_drawer", "--scenario", "2"]) == 0
    assert capsys.readouterr().out.count("3/3") == 2


def test_report_says_where_episodes_stopped() -> None:
    episodes = [
        Outcome(2, None, seed, "failed", seed == 1, 3.0 + seed, 2 * (seed == 1), 2)
        for seed in (0, 1, 2, 3)
    ]
    (row,) = summarise(episodes)
    assert (row.task, row.seeds, row.success, row.episodes) == ("scenario 2", (0, 3), 1, 4)
    assert row.time == 4.0 and row.skills_done == 0.5
    assert row.stopped_at == {"push_button": 3}


def test_wilson_interval() -> None:
    # Newcombe 1998, table I: 81 of 263
    low, high = wilson(81, 263)
    assert low == pytest.approx(0.2553, abs=1e-4) and high == pytest.approx(0.3662, abs=1e-4)
    for total in range(1, 200):
        assert wilson(0, total)[0] == 0.0 and wilson(total, total)[1] == 1.0


def test_page_of_all_and_of_none(tmp_path: Path) -> None:
    episodes = [Outcome(1, None, seed, "succeeded", True, 4.0, 1, 1) for seed in range(20)]
    episodes += [Outcome(2, None, seed, "timed_out", False, 25.0, 0, 2) for seed in range(20)]
    write_page(tmp_path, summarise(episodes), "All and none", "moe-robot-control evaluate")
    text = (tmp_path / "README.md").read_text()
    assert "| scenario 1 | 0-19 | 20/20 |" in text and "| scenario 2 | 0-19 | 0/20 |" in text
    assert (tmp_path / "success.png").stat().st_size > 1000


def test_doing_nothing_times_out() -> None:
    def idle(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        return np.zeros((len(stage), 4))

    outcomes = run_in_simulation(idle, [1, 2], skill="push_button", max_steps=20)
    assert [outcome.state for outcome in outcomes] == ["timed_out"] * 2
    assert [outcome.time for outcome in outcomes] == [1.0] * 2
    assert [outcome.stages_done for outcome in outcomes] == [0, 0]


def test_batch_size_does_not_matter() -> None:
    together = run_in_simulation(
        teacher(), [7, 8], skill="push_button", errors=ErrorModel(position_bias=0.002)
    )
    alone = run_in_simulation(
        teacher(), [8], skill="push_button", errors=ErrorModel(position_bias=0.002)
    )
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
        (["--skill", "unbox", "--policy", "none_such"], "none_such.onnx"),
        (["--scenario", "1", "--policy", "none_such"], "none_such.onnx"),
        (["--teacher", "--policy", "soft_modular"], "--policy is not for --teacher"),
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


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--episodes", "3", "roman", "--quick"], "--episodes"),
        (["--scenario", "3", "perception"], "--scenario"),
        (["--simulation", "roman"], "--simulation"),
    ],
)
def test_an_option_before_the_kind_is_not_ignored(
    words: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 2
    assert f"{flag} must come after" in capsys.readouterr().err
