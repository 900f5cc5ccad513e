"""The command `train multitask` and its settings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from moe_robot_control.cli import main
from moe_robot_control.learning.multitask_config import load_multitask_config
from moe_robot_control.learning.multitask_training import DeployedPolicy
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.policies.runtime import load_expert, load_experts
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, SKILLS
from moe_robot_control.share import share_path

pytestmark = pytest.mark.usefixtures("short_episodes")

SETTINGS = share_path("config/training/multitask.yaml")
METHODS = tuple(yaml.safe_load(SETTINGS.read_text())["methods"])


def small_settings(folder: Path, **changes: object) -> Path:
    tree = yaml.safe_load(SETTINGS.read_text())
    tree["defaults"] |= {
        "num_envs": 1, "steps": 28, "random_steps": 2, "handed_over": 0.0, "demonstrations": 1,
        "evaluate_every": 28, "evaluation_episodes": 1, "replay": 100, "sac_batch": 4, "updates": 1,
    } | changes  # fmt: skip
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_settings(method: str) -> None:
    config = load_multitask_config(method)
    assert config.steps == load_multitask_config("soft_modular").steps
    network = config.network.build(20, 7, 4)
    assert network(torch.zeros(2, 20), torch.eye(7)[:2]).shape == (2, 4)


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"colour": 1}, "'colour'"),
        ({"sac_colour": 1}, "'sac_colour'"),
        ({"steps": "many"}, "steps"),
        ({"network_width": 1.5}, "network_width"),
        ({"sac_gamma": 1.0}, "sac_gamma"),
        ({"sac_cloning": -0.1}, "sac_cloning"),
        ({"num_envs": 0}, "num_envs"),
        ({"network_kind": 3}, "network_kind"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, object], culprit: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=culprit):
        load_multitask_config("single_task", path=small_settings(tmp_path, **changes))


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--method", "magic"], "'magic'"),
        (["--task", "unbox"], "--task"),
        (["--suite", "kitchen"], "'kitchen'"),
        (["--method", "single_task", "--task", "juggle"], "'juggle'"),
        (["--suite", "mt10", "--metaworld-python", "/no/python"], "/no/python"),
        (["--steps", "0"], "--steps"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], culprit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "multitask", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and culprit in error and error.count("\n") == 1


def test_deployed_actions_are_physical() -> None:
    class Extreme(torch.nn.Module):
        def forward(self, state: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
            sign = 2.0 * task[:, :1] - 1.0
            return 20.0 * sign.expand(-1, 8)

    answer = DeployedPolicy(Extreme(), 2, 12, 12, ACTION_LOW, ACTION_HIGH)(torch.eye(14)[12:])
    np.testing.assert_allclose(answer[0], ACTION_HIGH, atol=1e-6)
    np.testing.assert_allclose(answer[1], ACTION_LOW, atol=1e-6)


@pytest.mark.parametrize("method", ["soft_modular", "hard_routing"])
def test_a_policy_for_all_skills_is_exported(method: str, tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    words = ["--config", str(settings), "--output", str(tmp_path), "--runs", str(tmp_path / "r")]
    assert main(["train", "multitask", "--method", method, *words]) == 0
    experts = load_experts(tmp_path, method)
    observations = np.random.default_rng(0).normal(0.0, 0.3, (20, 12))
    answers = [experts[s](observations) for s in ("unbox", "rotate_door", "pick_and_drop")]
    assert np.ptp(np.stack(answers), axis=0).max() > 1e-5
    about = json.loads((tmp_path / f"{method}.json").read_text())
    assert about["metrics"]["environment_steps"] == 28
    assert set(about["metrics"]["success"]) == set(SKILLS)
    assert (tmp_path / "routing.onnx").is_file() == (method == "soft_modular")


def test_the_exported_routing_sums_to_one(tmp_path: Path) -> None:
    settings = small_settings(tmp_path)
    words = ["--config", str(settings), "--output", str(tmp_path), "--runs", str(tmp_path / "r")]
    assert main(["train", "multitask", *words]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "routing.onnx"))
    x = np.random.default_rng(0).normal(size=(5, 19)).astype(np.float32)
    (routing,) = session.run(None, {"observation": x})
    assert routing.shape == (5, 1, 4, 4) and np.ptp(routing) > 1e-3
    np.testing.assert_allclose(routing.sum(-1), 1.0, atol=1e-5)


def test_single_tasks_are_experts_of_their_own(tmp_path: Path) -> None:
    words = ["--method", "single_task", "--task", "push_button", "--output", str(tmp_path)]
    words += ["--config", str(small_settings(tmp_path)), "--runs", str(tmp_path / "r")]
    assert main(["train", "multitask", *words]) == 0
    assert load_expert("push_button", tmp_path)(np.zeros((3, 8))).shape == (3, 4)
    about = json.loads((tmp_path / "push_button.json").read_text())
    assert about["metrics"]["environment_steps"] == 4
