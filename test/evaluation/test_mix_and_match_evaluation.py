"""The report on curricula, from trainings whose figures are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from moe_robot_control.cli import main
from moe_robot_control.evaluation.mix_and_match_suite import Trained, find_trained
from moe_robot_control.learning.curricula import build_curriculum
from moe_robot_control.learning.mix_and_match_config import load_mix_and_match_config
from moe_robot_control.learning.mix_and_match_training import AGENTS
from moe_robot_control.manifest import write_manifest


def make(folder: Path, method: str, success: list[float], **more: object) -> Trained:
    """Untrained agents that claim a curve."""
    config, _ = load_mix_and_match_config("actions", method)
    torch.manual_seed(0)
    agents = build_curriculum("actions", config, 1).agents()
    own = folder / f"actions_{method}_0"
    own.mkdir(parents=True)
    torch.save([agent.state_dict() for agent in agents], own / AGENTS)
    curve = [
        {"steps": 1000 * i, "position": 0.5, "mixture": [share], "last": [share / 2]}
        for i, share in enumerate(success)
    ]
    metrics = {"curve": curve, "skill": "push_button", "tasks": ["push_button"], **more}
    write_manifest(own / AGENTS, "train", 0, "0", metrics)
    return Trained("actions", method, 0, own)


def test_steps_to_a_goal(tmp_path: Path) -> None:
    one = make(tmp_path, "mix_and_match", [0.0, 0.5, 0.8, 0.7, 1.0])
    assert one.steps_to(0.8) == 2000
    assert one.steps_to(0.8, of="last") is None
    assert find_trained(tmp_path) == [one]


def test_a_page_with_curves_and_lineage(tmp_path: Path) -> None:
    lineage = [
        {"member": m, "interval": i, "parent": m if i else 1, "score": float(i), "alpha": 0.1 * i,
         "learning_rate": 1e-3, "entropy_weight": 0.0}
        for i in range(3) for m in range(2)
    ]  # fmt: skip
    make(tmp_path / "data", "complex", [0.0, 0.1, 0.9])
    make(tmp_path / "data", "population", [0.0, 0.9, 1.0], lineage=lineage, members=2, best=0)
    out = tmp_path / "page"
    command = ["evaluate", "mix-and-match", "--trained", str(tmp_path / "data"), "--out", str(out)]
    assert main([*command, "--episodes", "2"]) == 0
    page = (out / "README.md").read_text()
    assert "| the complex agent alone | 1 | **0.0%** (0%-66%) | 0% | 2,000 | not reached |" in page
    assert "| Mix & Match, alpha by population | 1 |" in page
    assert "| 1 | 0.20 | 0.001 | 0 | 2.00 | 0 of 3 |" in page
    for picture in ("actions_curves.png", "actions_population_0_lineage.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG") and picture in page
    results = json.loads((out / "results.json").read_text())
    assert {r["name"] for r in results} == {"actions_complex_0", "actions_population_0"}
    assert len(json.loads((out / "curves.json").read_text())) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--episodes", "0"), "--episodes must be 1 or more"),
        (("--curriculum", "x"), "unknown curriculum 'x'"),
        (("--method", "x"), "unknown method 'x'"),
        ((), "no trained agents"),
    ],
)
def test_bad_options(
    tmp_path: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [
        "evaluate",
        "mix-and-match",
        "--trained",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*command, *options]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_corrupt_agents_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make(tmp_path / "data", "complex", [0.0])
    (one.folder / AGENTS).write_bytes(b"no")
    command = ["evaluate", "mix-and-match", "--trained", str(tmp_path / "data")]
    assert main([*command, "--out", str(tmp_path / "o"), "--episodes", "1"]) != 0
    assert AGENTS in capsys.readouterr().err
