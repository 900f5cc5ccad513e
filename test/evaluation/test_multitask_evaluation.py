"""The command `evaluate multitask`, its files and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_robot_control.cli import main
from moe_robot_control.evaluation import multitask_evaluation
from moe_robot_control.evaluation.multitask_report import (
    curve_of,
    means,
    published_table,
    success_table,
)
from moe_robot_control.evaluation.multitask_suite import (
    MultiTaskEvaluationError,
    TaskResult,
    Trained,
    find_trained,
    measure,
    policy_of,
    read_results,
    write_results,
)
from moe_robot_control.evaluation.routing_analysis import follow
from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.multitask import Featured
from moe_robot_control.learning.multitask_training import DeployedPolicy, DeployedRouting
from moe_robot_control.learning.networks import skill_features
from moe_robot_control.learning.soft_modularization import SoftModularNetwork
from moe_robot_control.manifest import write_manifest
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, SKILLS, unit_action

pytestmark = pytest.mark.usefixtures("short_episodes", "few_handovers")

METRICS = {"environment_steps": 70, "seconds": 60.0, "parameters": 5}


def train(folder: Path, method: str = "soft_modular", seed: int = 0) -> Trained:
    """What a training would leave, untrained."""
    torch.manual_seed(seed)
    features = skill_features(torch.zeros(1, 12)).shape[1]
    actor = Featured(SoftModularNetwork(features, 7, 8, 8, 3, 2, (8, 1)), skill_features, 12)
    policy = DeployedPolicy(actor, 7, 12, 12, ACTION_LOW, ACTION_HIGH)
    trained = Trained("bench", method, seed, folder / f"{method}_{seed}")
    example = torch.rand(4, 19)
    export_onnx(policy, trained.models[0], example, "observation", "action")
    routing = DeployedRouting(policy, actor)
    export_onnx(routing, trained.folder / "routing.onnx", example, "observation", "routing")
    metrics = METRICS | {"curve": [(35, [0.0] * 7), (70, [0.7, *[0.0] * 6])]}
    write_manifest(trained.models[0], "train", seed, "", metrics)
    return trained


def result(method: str, seed: int, task: str, success: int) -> TaskResult:
    return TaskResult("bench", method, seed, task, success, 10, "abc")


def test_trainings_are_found_in_order(tmp_path: Path) -> None:
    for method, seed in (("multi_task", 0), ("soft_modular", 1), ("soft_modular", 0)):
        train(tmp_path, method, seed)
    unfinished = train(tmp_path, "multi_head")
    unfinished.models[0].with_suffix(".json").unlink()
    found = find_trained({"bench": tmp_path, "mt10": tmp_path / "none"})
    assert [(one.method, one.seed) for one in found] == [
        ("soft_modular", 0),
        ("soft_modular", 1),
        ("multi_task", 0),
    ]
    assert len({one.hash for one in found}) == 2


def test_single_tasks_have_a_model_each() -> None:
    trained = Trained("mt10", "single_task", 0, Path("folder"))
    assert len(trained.models) == 10 and trained.model("push-v3") == Path("folder/push-v3.onnx")


def test_every_skill_is_measured(tmp_path: Path) -> None:
    trained = train(tmp_path)
    results = measure(trained, 2, Path("python"))
    assert [one.task for one in results] == list(SKILLS)
    assert all(one.episodes == 2 and one.models == trained.hash for one in results)


def test_the_policy_of_a_suite_is_the_exported_one(tmp_path: Path) -> None:
    trained = train(tmp_path)
    states = np.random.default_rng(0).normal(size=(7, 3, 12)).astype(np.float32)
    actions = policy_of(trained)(states)
    assert actions.shape == (7, 3, 4) and np.abs(actions).max() <= 1.0 + 1e-6
    # each task asks with its own one-hot
    assert np.ptp(policy_of(trained)(np.repeat(states[:1], 7, axis=0))[:, 0], axis=0).max() > 1e-4


def test_unit_actions_and_commands_are_inverse() -> None:
    np.testing.assert_allclose(unit_action(ACTION_LOW), -1.0)
    np.testing.assert_allclose(unit_action(ACTION_HIGH), 1.0)


def test_results_survive_the_file(tmp_path: Path) -> None:
    results = [result("multi_task", 1, "unbox", 3)]
    write_results(tmp_path / "results.csv", results)
    assert read_results(tmp_path / "results.csv") == results
    assert read_results(tmp_path / "none.csv") == []
    (tmp_path / "bad.csv").write_text("colour\nred\n")
    with pytest.raises(MultiTaskEvaluationError, match=r"bad\.csv"):
        read_results(tmp_path / "bad.csv")


def test_means_are_over_tasks_then_over_seeds() -> None:
    results = [
        result("multi_task", seed, task, count)
        for seed, counts in enumerate([(10, 0), (10, 6)])
        for task, count in zip(("unbox", "push_button"), counts, strict=True)
    ]
    assert means("bench", "multi_task", results) == {0: 0.5, 1: 0.8}
    line = success_table("bench", results).splitlines()[2]
    assert line == "| multi-task SAC | 2 | **65.0%** (50.0%, 80.0%) | 100% | 30% |"


def test_a_curve_is_the_mean_over_tasks(tmp_path: Path) -> None:
    np.testing.assert_allclose(curve_of(train(tmp_path)), [[35, 0.0], [70, 0.1]])


def test_published_figures_stand_beside_own_ones_with_the_budgets() -> None:
    results = [
        TaskResult("mt10", method, 0, task, success, 10, "abc")
        for method, success in (("soft_modular", 3), ("single_task", 5))
        for task in ("reach-v3", "push-v3")
    ]
    table = published_table(results, 1_000_000)
    assert "15 times as many as here" in table
    assert "| Soft Modularization | 30.0% | 72% | 87% |" in table
    # nothing was published of it
    assert "| single-task SAC (a network each) | 50.0% | - | - |" in table


def test_routing_is_followed_to_the_end_of_each_episode(tmp_path: Path) -> None:
    suite = BenchSuite(2, ("push_button", "unbox"))
    routes = follow(
        suite,
        lambda states: np.zeros((2, 2, 4)),
        lambda x: np.repeat(x[:, -2:, None], 2, axis=2)[:, None],
        0,
    )
    assert routes.tasks == ("push_button", "unbox")
    for index, (routing, phases) in enumerate(zip(routes.routing, routes.phases, strict=True)):
        assert len(routing) == len(phases) and phases.min() == 0.0 and phases.max() == 1.0
        # the task is told by its one-hot
        assert (routing[:, 0, index] == 1.0).all() and (routing[:, 0, 1 - index] == 0.0).all()


def test_the_command_writes_page_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multitask_evaluation, "ROUTED_EPISODES", 1)
    train(tmp_path)
    out = tmp_path / "out"
    words = ["evaluate", "multitask", "--trained", str(tmp_path), "--episodes", "1"]
    words += ["--mt10-trained", str(tmp_path / "none"), "--out", str(out)]
    assert main(words) == 0
    page = (out / "README.md").read_text()
    assert "| Soft Modularization | 1 |" in page and "| Soft Modularization | 70 | 1 | 5 |" in page
    pictures = ("curves", "routing", "routing_over_time", "routing_tsne")
    for name in pictures:
        assert f"(bench_{name}.png)" in page and (out / f"bench_{name}.png").stat().st_size > 5000
    assert json.loads((out / "manifest.json").read_text())["rows"] == 7
    # nothing is measured twice
    before = (out / "results.csv").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "results.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--trained", "/nowhere"], "/nowhere"),
        (["--episodes", "0"], "--episodes"),
        (["--suite", "kitchen"], "'kitchen'"),
        (["--method", "magic"], "'magic'"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], culprit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "multitask", "--mt10-trained", "/nowhere", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and culprit in error and error.count("\n") == 1
