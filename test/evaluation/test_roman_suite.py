"""The suite of experiments: what it holds, how it counts, its files and its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moe_robot_control.cli import main
from moe_robot_control.evaluation import roman_suite
from moe_robot_control.evaluation.policies_in_simulation import SimulatedOutcome
from moe_robot_control.evaluation.report import wilson
from moe_robot_control.evaluation.roman_report import (
    COLUMNS,
    TITLES,
    cell,
    read_rows,
    row_of,
    same,
    tables,
    write_rows,
)
from moe_robot_control.evaluation.roman_suite import (
    ALL_SCENARIOS,
    METHODS,
    SECTIONS,
    Experiment,
    Result,
    SuiteError,
    controller_of,
    run_experiment,
    suite,
)
from moe_robot_control.policies.mixture import mix
from moe_robot_control.policies.runtime import PolicyLoadError, load_expert, load_mixture
from moe_robot_control.policies.spaces import (
    OBJECTS,
    SKILLS,
    Scene,
    expert_columns,
    expert_observation,
    gate_observation,
)
from moe_robot_control.share import share_path
from moe_robot_control.world.disturbances import KINDS

POLICIES = share_path("models/policies")
LAST = Experiment("scenarios", "roman", "perception's errors", scenario=1, episodes=3)


def random_scenes(count: int) -> Scene:
    rng = np.random.default_rng(0)
    return Scene(
        end_effector=rng.uniform(-0.5, 0.5, (count, 3)),
        gripper_width=rng.uniform(0.0, 0.08, count),
        positions=rng.uniform(-0.5, 0.5, (count, len(OBJECTS), 3)),
        known=rng.random((count, len(OBJECTS))) < 0.8,
    )


def test_suite_covers_everything() -> None:
    experiments = suite()
    assert tuple(dict.fromkeys(e.section for e in experiments)) == SECTIONS
    assert {e.method for e in experiments} == set(METHODS)
    assert {e.skill for e in experiments if e.section == "skills"} == set(SKILLS)
    for method in METHODS:
        own = [e for e in experiments if e.section == "baselines" and e.method == method]
        assert tuple(e.scenario for e in own) == ALL_SCENARIOS == (1, 2, 3, 4, 5, 6, 7)
    for e in experiments:
        assert (e.scenario is None) != (e.skill is None)
        assert e.episodes >= (200 if e.skill else 100)
        assert e.camera == (e.section == "camera")
        assert bool(e.disturbances) == ("disturb" in e.section)
    single = {e.disturbances for e in experiments if len(e.disturbances) == 1}
    assert single == {(kind,) for kind in KINDS}
    keys = [(e.section, e.method, e.condition, e.task) for e in experiments]
    assert len(set(keys)) == len(keys)


def test_numbers_of_episodes() -> None:
    assert [e for e in suite() if not e.camera] == suite(camera_episodes=0)
    assert {e.episodes for e in suite(7, 9, 5)} == {7, 9, 5}


def test_only_disturbed_episodes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []

    def pretend(controller: object, seeds: range, **options: object) -> list[SimulatedOutcome]:
        """Every other episode is disturbed; of those the second half fails at the button."""
        asked.append({"seeds": list(seeds), **options})
        return [
            SimulatedOutcome(
                4, None, seed, "-", i < 6, 10.0 + i, 4 if i < 6 else 2, 4, KINDS[0] * (i % 2)
            )
            for i, seed in enumerate(seeds)
        ]

    monkeypatch.setattr(roman_suite, "run_in_simulation", pretend)
    calm = Experiment("scenarios", "roman", "", scenario=4, episodes=10, seed=50)
    result = run_experiment(calm, POLICIES, Path("nowhere"))
    assert (result.success, result.episodes, result.time) == (6, 10, 12.5)
    assert result.stopped_at == {"push_button": 4}
    result = run_experiment(replace(calm, disturbances=KINDS), POLICIES, Path("nowhere"))
    assert (result.success, result.episodes, result.time) == (3, 5, 13.0)
    assert result.stopped_at == {"push_button": 2}
    assert result.share == 0.6 and result.interval == wilson(3, 5)
    assert asked[0]["seeds"] == list(range(50, 60)) and "disturbed" not in asked[0]
    assert asked[1]["disturbed"] == 1.0 and asked[1]["disturbances"] == KINDS


def test_an_experiment_that_nothing_disturbed() -> None:
    result = Result(replace(LAST, disturbances=KINDS), 0, 0, None)
    assert result.share == 0.0 and result.interval == (0.0, 1.0)
    assert cell(row_of(result, "m")) == "-"


def test_the_oracle_does_the_last_skill() -> None:
    result = run_experiment(replace(LAST, method="oracle"), POLICIES, Path("nowhere"), 1)
    assert (result.success, result.episodes, result.stopped_at) == (3, 3, {})
    assert 2.0 < result.time < 8.0


def test_controllers_need_known_methods_and_models(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="'magic'"):
        controller_of("magic", POLICIES, tmp_path, None)
    for method in METHODS:
        for policies in (tmp_path, POLICIES):
            if policies == POLICIES and method in ("roman", "oracle", "hard_gate"):
                continue
            with pytest.raises(PolicyLoadError, match=str(tmp_path)):
                controller_of(method, policies, tmp_path / "baselines", None)
    with pytest.raises(PolicyLoadError, match=r"bc_only/unbox\.onnx"):
        controller_of("bc_only", POLICIES, tmp_path, "unbox")


@pytest.mark.parametrize("skill", SKILLS)
def test_an_experts_observation_is_columns_of_the_gates(skill: str) -> None:
    scene = random_scenes(30)
    np.testing.assert_array_equal(
        gate_observation(scene)[:, expert_columns(skill)], expert_observation(scene, skill)
    )


def test_mixture_is_its_experts_mixed() -> None:
    scene, rng = random_scenes(60), np.random.default_rng(1)
    weights = rng.random((60, len(SKILLS))) * (rng.random((60, len(SKILLS))) < 0.4)
    weights[np.arange(60), rng.integers(len(SKILLS), size=60)] += 0.5
    weights /= weights.sum(axis=1, keepdims=True)
    assert 0.3 < (weights == 0).mean() < 0.7
    actions = [load_expert(skill, POLICIES)(expert_observation(scene, skill)) for skill in SKILLS]
    expected = mix(np.stack(actions, axis=1), weights)
    mixed = load_mixture(POLICIES)(gate_observation(scene), weights)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def results() -> list[Result]:
    """Made-up ones: several methods, several conditions, skills."""
    noise = [
        Result(Experiment("noise", "roman", condition, scenario=scenario), success, 100, 12.34)
        for condition, success in (("0 mm", 100), ("20 mm", 80))
        for scenario in (1, 4)
    ]
    rivals = [
        Result(Experiment("baselines", method, "perception's errors", scenario=7), success, 100, 9)
        for method, success in (("roman", 97), ("ppo_only", 0))
    ]
    unbox = Experiment("skills", "roman", "perception's errors", skill="unbox", episodes=200)
    stopped = {"unbox": 3, "pull_drawer": 1}
    return [Result(unbox, 196, 200, None, stopped), *noise, *rivals]


def test_csv_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.csv"
    assert read_rows(path) == []
    rows = [row_of(result, "abc") for result in results()]
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert rows[0]["stopped_at"] == "unbox 3; pull_drawer 1" and rows[0]["time"] == ""
    assert rows[1]["time"] == "12.34" and rows[1]["share"] == "1.0000"
    write_rows(path, rows[:2])
    assert read_rows(path) == rows[:2]
    assert [item.name for item in path.parent.iterdir()] == ["results.csv"]


def test_same_experiment() -> None:
    own = row_of(Result(LAST, 3, 3, 1.0), "abc")
    assert same(own, LAST, "abc") and not same(own, LAST, "abd")
    for other in (
        replace(LAST, section="baselines"),
        replace(LAST, method="oracle"),
        replace(LAST, condition="20 mm"),
        replace(LAST, scenario=2),
        replace(LAST, scenario=None, skill="unbox"),
    ):
        assert not same(own, other, "abc")


def test_one_table_a_section() -> None:
    text = tables([row_of(result, "abc") for result in results()])
    heads = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert heads == [TITLES[section] for section in ("skills", "noise", "baselines")]
    lines = text.splitlines()
    assert "| | unbox |" in lines and "| ROMAN | 196/200 (95-99%) |" in lines
    assert "| | scenario 1 | scenario 4 |" in lines
    assert "| 0 mm | 100/100 (96-100%) | 100/100 (96-100%) |" in lines
    assert "| 20 mm | 80/100 (71-87%) | 80/100 (71-87%) |" in lines
    assert "| ROMAN | 97/100 (92-99%) |" in lines
    assert f"| {METHODS['ppo_only']} | 0/100 (0-4%) |" in lines
    assert set(TITLES) == set(SECTIONS) and tables([]) == ""


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--section", "nope"], "section 'nope'"),
        (["--method", "magic"], "method 'magic'"),
        (["--episodes", "0"], "--episodes"),
        (["--skill-episodes", "-1"], "--skill-episodes"),
        (["--jobs", "0"], "--jobs"),
        (["--section", "skills", "--models", "/nowhere"], "/nowhere/rotate_door.onnx"),
        (["--section", "noise", "--method", "ppo_only"], "no experiment"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], culprit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "roman", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and culprit in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_rivals_that_are_not_trained_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--method", "monolithic", "--baselines", "/nowhere", "--out", str(tmp_path)]
    assert main(["evaluate", "roman", *words]) == 0
    error = capsys.readouterr().err
    assert "left out: monolithic network" in error and "/nowhere/monolithic" in error


def test_quick_run_is_written_and_not_measured_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "roman", "--section", "skills", "--quick", "--out", str(tmp_path)]
    table = tmp_path / "results.csv"

    def state() -> tuple[bytes, int]:
        return table.read_bytes(), table.stat().st_mtime_ns

    assert main(words) == 0
    assert TITLES["skills"] in capsys.readouterr().out
    (row,) = read_rows(table)
    assert (row["method"], row["task"], row["episodes"]) == ("roman", "push_button", "4")
    assert int(row["success"]) >= 3
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# ROMAN\n") and f"| ROMAN | {cell(row)} |" in page
    about = json.loads((tmp_path / "manifest.json").read_text())
    assert about["quick"] is True and about["rows"] == 1
    assert "command" in about and "commit" in about
    first = state()
    assert main(words) == 0
    assert state() == first
    assert main([*words, "--again"]) == 0
    again = state()
    assert again[0] == first[0] and again[1] > first[1]
