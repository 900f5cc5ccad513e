"""Lockstep episodes over DDS: the same seed gives the same trajectory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from moe_robot_control.cli import main
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.episode_runner import EpisodeError, EpisodeRunner
from moe_robot_control.policies.gating import HOLD_STEPS, sparsify
from moe_robot_control.policies.mixture import mix
from moe_robot_control.policies.runtime import load_expert, load_gate
from moe_robot_control.policies.spaces import (
    DECISION_PERIOD,
    SKILLS,
    expert_observation,
    gate_observation,
)
from moe_robot_control.share import share_path
from moe_robot_control.world.envs import BENCH_ID, register

SCENARIO = 2
PARITY = 1e-9
"""Largest difference of joint positions between graph and environment [rad]."""


def options(models: Path, tmp_path: Path) -> GraphOptions:
    brief = tmp_path / "brief.yaml"
    brief.write_text("/**:\n  ros__parameters: {time_limit: 4.0}\n")
    return GraphOptions(true_poses=True, model_directory=str(models), parameter_files=(str(brief),))


def run(runner: EpisodeRunner, seed: int) -> np.ndarray:
    """Joints at every decision, shape (80, 8); NaN where the listener missed the message."""
    result = runner.run(scenario=SCENARIO, seed=seed, record="left")
    assert result.state == "timed_out"
    assert result.time == pytest.approx(4.0)
    path = np.full((80, 8), np.nan)
    for tick in result.ticks:
        if tick.joints:
            path[round(tick.time / DECISION_PERIOD)] = list(tick.joints.values())
    assert np.isfinite(path).all(axis=1).sum() > 60
    assert np.nanmax(np.abs(path[:, :7] - path[0, :7])) > 0.05, "the arm has not moved"
    return path


def difference(path: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of two trajectories where both are known."""
    both = np.isfinite(path) & np.isfinite(other)
    assert both.all(axis=1).sum() > 40
    return float(np.abs(path - other)[both].max())


def test_same_seed_same_trajectory_and_parity_with_the_environment(
    models: Path, tmp_path: Path
) -> None:
    with EpisodeRunner(options(models, tmp_path)) as runner:
        first, other, again = run(runner, 3), run(runner, 4), run(runner, 3)
    assert difference(first, again) == 0.0
    assert difference(first, other) > 1e-3
    with EpisodeRunner(options(models, tmp_path)) as runner:
        assert difference(run(runner, 3), first) == 0.0
    assert difference(in_the_environment(models, 3, len(first)), first) <= PARITY


def in_the_environment(models: Path, seed: int, steps: int) -> np.ndarray:
    register()
    env = gym.make(BENCH_ID, scenario=SCENARIO, disable_env_checker=True)
    experts = {skill: load_expert(skill, models) for skill in SKILLS}
    gate = load_gate(models)
    env.reset(seed=seed)
    sim = env.unwrapped.vector.sim
    path = []
    for step in range(steps):
        path.append([*sim.joint_positions[0], sim.gripper_width[0]])
        scene = env.unwrapped.scene
        if step % HOLD_STEPS == 0:
            weights = sparsify(np.ravel(gate(gate_observation(scene))))
        actions = np.stack(
            [np.ravel(experts[skill](expert_observation(scene, skill))) for skill in SKILLS]
        )
        *_, _info = env.step(mix(actions, weights))
    env.close()
    return np.array(path)


def test_processes_of_their_own_give_the_same_trajectory(models: Path, tmp_path: Path) -> None:
    with EpisodeRunner(options(models, tmp_path)) as runner:
        composed = run(runner, 5)
    with EpisodeRunner(options(models, tmp_path), composed=False) as runner:
        assert difference(run(runner, 5), composed) == 0.0


def test_one_skill_alone(models: Path, tmp_path: Path) -> None:
    with EpisodeRunner(options(models, tmp_path)) as runner:
        result = runner.run(skill="pull_drawer", seed=1, record="left")
        assert (result.skill, result.stages_total) == ("pull_drawer", 1)
        assert all(tick.weights["pull_drawer"] == 1.0 for tick in result.ticks if tick.weights)
        with pytest.raises(EpisodeError, match="scenario"):
            runner.run(scenario=9)


def test_a_graph_that_cannot_start_tells_why(models: Path, tmp_path: Path) -> None:
    (tmp_path / "nowhere").mkdir()
    broken = GraphOptions(true_poses=True, model_directory=str(tmp_path / "nowhere"))
    with pytest.raises(EpisodeError, match="nowhere"), EpisodeRunner(broken):
        pass


def test_one_expert_is_evaluated_without_any_other_model(tmp_path: Path) -> None:
    alone, results = tmp_path / "mine", tmp_path / "results.json"
    alone.mkdir()
    shutil.copy(share_path("models/policies/push_button.onnx"), alone)
    words = ["evaluate", "--skill", "push_button", "--models", str(alone), "--episodes", "1"]
    assert main([*words, "--json", str(results)]) == 0
    (episode,) = json.loads(results.read_text())["episodes"]
    assert episode["skill"] == "push_button" and episode["success"]
    demo = ["demo", "--skill", "push_button", "--models", str(alone), "--no-film"]
    assert main([*demo, "--out", str(tmp_path)]) == 0
    (tmp_path / "none").mkdir()
    assert main(["demo", "--skill", "push_button", "--models", str(tmp_path / "none")]) == 2
