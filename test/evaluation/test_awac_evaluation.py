"""The command `evaluate awac`, its files and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from moe_robot_control.cli import main
from moe_robot_control.evaluation.awac_report import (
    deepest_loss,
    draw_curves,
    steps_to,
    success_table,
    training_table,
)
from moe_robot_control.evaluation.awac_suite import (
    AwacEvaluationError,
    CurvePoint,
    Result,
    Trained,
    find_trained,
    measure,
    read_results,
    write_results,
)
from moe_robot_control.evaluation.csv_files import read_csv
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.manifest import ManifestError, write_manifest
from moe_robot_control.policies.spaces import expert_observation_size

SKILL = "push_button"
CURVE = [(0, 0, 0.5, 0.5), (20, 2400, 0.3, 0.5), (40, 4800, 0.95, 0.95)]


class Press(nn.Module):
    """To the button's place from above, then down."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = 2.0 * (x[:, 4:6] - x[:, :2])
        near = (flat.square().sum(1, keepdim=True) < 4e-4).float()
        return torch.cat([flat.clamp(-0.25, 0.25), -0.2 * near, 0.0 * near], dim=1)


def trained(folder: Path, method: str = "awac", seed: int = 0, **metrics: object) -> Trained:
    """What a training would leave."""
    one = Trained(method, SKILL, seed, folder / f"{method}_{SKILL}_{seed}")
    example = torch.rand(4, expert_observation_size(SKILL))
    export_onnx(Press(), one.model, example, "observation", "action")
    write_manifest(one.model, "train", seed, "", {"curve": CURVE, "through": "x"} | metrics)
    return one


def test_trainings_are_found_in_order(tmp_path: Path) -> None:
    for method, seed in (("bc", 0), ("awac", 10), ("awac", 2)):
        trained(tmp_path, method, seed)
    unfinished = trained(tmp_path, "sac")
    unfinished.model.with_suffix(".json").unlink()
    (tmp_path / f"awac_{SKILL}_old").mkdir()
    found = [(one.method, one.seed) for one in find_trained(tmp_path)]
    assert found == [("awac", 2), ("awac", 10), ("bc", 0)]


def test_a_policy_is_measured_in_its_skill(tmp_path: Path) -> None:
    result = measure(trained(tmp_path), 3)
    assert (result.success, result.episodes, result.share) == (3, 3, 1.0)


def test_another_file_than_the_manifests_is_refused(tmp_path: Path) -> None:
    one = trained(tmp_path)
    one.model.write_bytes(one.model.read_bytes() + b"x")
    with pytest.raises(ManifestError, match=SKILL):
        measure(one, 1)


def test_figures_of_a_curve() -> None:
    curve = [CurvePoint(*row) for row in CURVE]
    assert curve[1].minutes == pytest.approx(2.0)  # 2,400 decisions of 0.05 s
    assert steps_to(curve) == 4800 and steps_to(curve[:2]) is None
    assert deepest_loss(curve) == 0.0  # 30% was rolled back
    worse = [*curve, CurvePoint(60, 7200, 0.35, 0.35)]
    assert deepest_loss(worse) == pytest.approx(0.15)
    assert deepest_loss(curve[:1]) == 0.0


def test_tables(tmp_path: Path) -> None:
    results = [Result("awac", SKILL, seed, 8 + seed, 10, "abc") for seed in (0, 1)]
    one, other = trained(tmp_path), trained(tmp_path, seed=1, curve=CURVE[:2])
    row = "| AWAC | 2 | 50.0% | **85.0%** | 80%, 90% | 4,800; not reached |"
    assert row in success_table(SKILL, [one, other], results)
    seen = trained(tmp_path, seed=2, poses="camera")
    assert "| x, camera images |" in training_table([seen])
    row = training_table([one]).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["AWAC", "0", "x", "50%", "95%", "20 points", "0 points", "4,800", "4,800"]


def test_curves_are_drawn_of_several_lengths(tmp_path: Path) -> None:
    several = [
        trained(tmp_path, seed=0),
        trained(tmp_path, seed=1, curve=CURVE[:2]),
        trained(tmp_path, "bc", curve=CURVE[:1]),
    ]
    draw_curves(tmp_path / "curves.png", several, SKILL)
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_results_come_back(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results = [Result("awac", SKILL, 0, 8, 10, "abc"), Result("bc", SKILL, 1, 2, 10, "def")]
    write_results(path, results)
    assert read_results(path) == results
    path.write_text("method,skill\nawac,push_button\n")
    with pytest.raises(AwacEvaluationError, match="delete it"):
        read_results(path)


def test_the_command_writes_a_page_and_measures_once(tmp_path: Path) -> None:
    trained(tmp_path / "data")
    out = tmp_path / "out"
    words = ["evaluate", "awac", "--trained", str(tmp_path / "data"), "--out", str(out)]
    assert main([*words, "--episodes", "2"]) == 0
    page = (out / "README.md").read_text()
    assert f"## {SKILL}" in page and "**100.0%**" in page
    assert (out / f"{SKILL}_curves.png").is_file()
    assert len(read_csv(out / "curves.csv")) == 3
    assert json.loads((out / "manifest.json").read_text())["rows"] == 1
    # a result of this very policy is kept, one of another is not
    path = out / "results.csv"
    (result,) = read_results(path)
    kept = Result(**(vars(result) | {"success": 1}))
    write_results(path, [kept])
    assert main([*words, "--episodes", "2"]) == 0
    assert read_results(path) == [kept]
    write_results(path, [Result(**(vars(kept) | {"model": "another"}))])
    assert main([*words, "--episodes", "2"]) == 0
    assert read_results(path) == [result]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--episodes", "0"], "--episodes must be 1 or more"),
        (["--skill", "sing"], "unknown skill 'sing'"),
        (["--method", "magic"], "unknown method 'magic'"),
        (["--trained", "nowhere"], "no trained policies in nowhere"),
        (["--method", "bc"], "no training is of that skill and that method"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "data")
    capsys.readouterr()
    assert main(["evaluate", "awac", "--trained", str(tmp_path / "data"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_a_manifest_without_evaluations_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / "data", curve=[])
    words = ["evaluate", "awac", "--trained", str(tmp_path / "data"), "--episodes", "1"]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{SKILL}.json: holds no evaluations" in error
