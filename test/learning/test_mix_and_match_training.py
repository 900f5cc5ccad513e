"""The command: curricula on the real bench, populations on real workers, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from moe_robot_control.cli import main
from moe_robot_control.evaluation.mix_and_match_suite import find_trained
from moe_robot_control.learning.agents import GaussianAgent
from moe_robot_control.learning.curricula import build_curriculum
from moe_robot_control.learning.mix_and_match_config import load_mix_and_match_config
from moe_robot_control.learning.mix_and_match_training import AGENTS, deployed_policy
from moe_robot_control.policies.runtime import OnnxPolicy
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, SKILLS, command_of
from moe_robot_control.share import share_path

pytestmark = pytest.mark.usefixtures("short_episodes")

SMALL = {
    "num_envs": 2, "rollout_steps": 8, "evaluate_every": 10_000, "evaluation_episodes": 1,
    "width": 8, "complex_width": 8, "demonstrations": 0, "handed_over": 0.0,
    "learner_minibatches": 2, "population_interval": 16, "population_members": 2,
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    tree = yaml.safe_load(share_path("config/training/mix_and_match.yaml").read_text())
    tree["defaults"] |= SMALL
    for name, own in tree["curricula"].items():
        tree["curricula"][name] = {k: v for k, v in own.items() if k not in SMALL} | {"steps": 32}
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def train(folder: Path, settings: Path, *options: str) -> int:
    return main(
        [
            "train", "mix-and-match", "--config", str(settings), "--output", str(folder / "data"),
            "--runs", str(folder / "runs"), "--threads", "1", *options,
        ]
    )  # fmt: skip


def test_a_training_leaves_agents_and_a_policy(tmp_path: Path, settings: Path) -> None:
    assert train(tmp_path, settings) == 0
    folder = tmp_path / "data/actions_mix_and_match_0"
    manifest = json.loads((folder / "agents.json").read_text())
    assert manifest["metrics"]["environment_steps"] == 32
    assert manifest["metrics"]["tasks"] == ["push_button"]
    (trained,) = find_trained(tmp_path / "data")
    assert trained.name == "actions_mix_and_match_0" and trained.steps.tolist() == [0, 32]
    states = torch.load(folder / AGENTS, weights_only=True)
    config, _ = load_mix_and_match_config("actions", "mix_and_match", settings)
    curriculum = build_curriculum("actions", config, 1)
    agents = curriculum.agents()
    agents[1].load_state_dict(states[1])
    policy = OnnxPolicy(folder / "push_button.onnx", 8, 4)
    x = np.random.default_rng(0).uniform(0, 0.5, (5, 8))
    padded = torch.nn.functional.pad(torch.tensor(x, dtype=torch.float32), (0, 4))
    with torch.no_grad():
        begins = torch.ones(1, 5, dtype=torch.bool)
        mean = agents[1](padded[None], agents[1].memory(5), begins)[0].mean[0]
    for row, expected in zip(x, command_of(mean.numpy()), strict=True):
        np.testing.assert_allclose(policy(row), expected, atol=1e-5)


@pytest.mark.parametrize("curriculum", ["architecture", "multitask"])
def test_other_curricula(tmp_path: Path, settings: Path, curriculum: str) -> None:
    assert train(tmp_path, settings, "--curriculum", curriculum) == 0
    folder = tmp_path / f"data/{curriculum}_mix_and_match_0"
    assert (folder / AGENTS).is_file()
    # what needs a memory is no policy of the graph
    assert (folder / "mix_and_match.onnx").is_file() == (curriculum == "multitask")
    assert not (folder / "push_button.onnx").exists()


def test_the_central_policy_serves_every_skill() -> None:
    config, _ = load_mix_and_match_config("multitask", "complex", overrides={"width": 8})
    curriculum = build_curriculum("multitask", config, 1)
    (agent,) = curriculum.agents()
    assert isinstance(agent, GaussianAgent)
    torch.nn.init.normal_(agent.policy.weight)
    policy = deployed_policy(curriculum, agent)
    states = np.random.default_rng(0).uniform(0, 0.5, (len(SKILLS), 1, 12))
    observations = curriculum.observe(states)
    with torch.no_grad():
        actions = policy(observations).numpy()
        begins = torch.ones(1, len(SKILLS), dtype=torch.bool)
        mean = agent(observations[None], agent.memory(len(SKILLS)), begins)[0].mean[0]
    np.testing.assert_allclose(actions, command_of(mean.numpy()), atol=1e-5)
    assert (actions >= ACTION_LOW - 1e-6).all() and (actions <= ACTION_HIGH + 1e-6).all()


def test_a_population_trains_and_refuses_to_begin_twice(
    tmp_path: Path, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--method", "population", "--deterministic")
    assert train(tmp_path, settings, *options) == 0
    metrics = json.loads((tmp_path / "data/actions_population_0/agents.json").read_text())[
        "metrics"
    ]
    assert metrics["members"] == 2 and len(metrics["lineage"]) == 4
    assert all(0.0 <= event["alpha"] <= 1.0 for event in metrics["lineage"])
    assert train(tmp_path, settings, *options) != 0
    assert "--resume goes on with it" in capsys.readouterr().err
    assert train(tmp_path, settings, *options, "--resume") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--curriculum", "colours"), "unknown curriculum 'colours': expected one of actions"),
        (("--method", "magic"), "unknown method 'magic'"),
        (("--skill", "juggle"), "unknown skill 'juggle'"),
        (("--steps", "0"), "steps is out of range: 0"),
        (("--seed", "-1"), "must not be negative"),
        (("--resume",), "are for --method population"),
    ],
)
def test_bad_options(
    tmp_path: Path,
    settings: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(tmp_path, settings, *options) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learner_clip", 0, "learner_clip is out of range: 0"),
        ("learner_epochs", 1.5, "'learner_epochs'|learner_epochs must be int"),
        ("alpha_end", 0.05, "alpha_end is out of range"),
        ("agents", "none", "agents must be one of simple, complex, both"),
        ("population_members", 1, "population_members is out of range: 1"),
        ("speed", 1, "unknown or missing key 'speed'"),
    ],
)
def test_bad_settings(
    tmp_path: Path,
    settings: Path,
    key: str,
    value: object,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = yaml.safe_load(settings.read_text())
    tree["defaults"][key] = value
    tree["curricula"]["actions"].pop(key, None)
    settings.write_text(yaml.safe_dump(tree))
    assert train(tmp_path, settings) != 0
    error = capsys.readouterr().err
    assert any(part in error for part in message.split("|")), error
