"""Policies in the gymnasium environments, without the graph: many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.policies.gating import HOLD_STEPS, MINIMUM_WEIGHT, sparsify
from moe_robot_control.policies.runtime import (
    load_experts,
    load_gate,
    load_mixture,
    load_monolithic,
)
from moe_robot_control.policies.spaces import (
    DECISION_PERIOD,
    SKILLS,
    Scene,
    check_skill,
    expert_observation,
    gate_observation,
)
from moe_robot_control.world.disturbances import KINDS
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.scene import ALL_PARTS
from moe_robot_control.world.tasks import first_stage
from moe_robot_control.world.teachers import teach_stage, teach_weights

Controller = Callable[[Scene, np.ndarray, int], np.ndarray]
"""From scenes (leading axis n), the stages reached (n,) and the step, which is 0 in a new
episode, to actions (n, 4)."""


@dataclass(frozen=True)
class SimulatedOutcome(Outcome):
    """How one episode in simulation went.

    Attributes:
        disturbance: what was done to it, out of `world.disturbances.KINDS`; empty if nothing.
    """

    disturbance: str = ""


def teacher() -> Controller:
    """The scripted experts, gated by the true stage."""

    def control(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        return teach_stage(stage, scene)

    return control


def expert(directory: str | Path, skill: str, shared: str = "") -> Controller:
    """One exported expert alone.

    Args:
        directory: of the ONNX files.
        skill: whose expert.
        shared: name of one network that serves all skills, instead of one for each.

    Raises:
        UnknownSkillError, PolicyLoadError: no such skill, or its file is unusable.
    """
    policy = load_experts(directory, shared, (check_skill(skill),))[skill]

    def control(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        return policy(expert_observation(scene, skill))

    return control


def mixture(
    directory: str | Path,
    top_k: int | None = None,
    minimum: float = MINIMUM_WEIGHT,
    gate_directory: str | Path | None = None,
    hold: int = HOLD_STEPS,
    shared: str = "",
) -> Controller:
    """All exported experts mixed by the exported manipulation network, as in the graph.

    Args:
        directory: of the ONNX files.
        top_k: largest weights that are kept; all by default.
        minimum: smaller weights become zero.
        gate_directory: of the manipulation network, where it is elsewhere.
        hold: decisions of the arm for which the weights are kept.
        shared: name of one network that serves all skills, instead of an expert for each.

    Raises:
        PolicyLoadError: a file is unusable.
    """
    gate = load_gate(gate_directory or directory)
    experts = load_mixture(directory, shared)
    weights = np.zeros(0)

    def control(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        nonlocal weights
        observation = gate_observation(scene)
        if step % hold == 0:
            weights = sparsify(gate(observation), top_k, minimum)
        return experts(observation, weights)

    return control


def oracle(directory: str | Path) -> Controller:
    """The exported experts under the scripted gate, which knows what is done: an upper bound."""
    experts = load_mixture(directory)

    def control(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        return experts(gate_observation(scene), teach_weights(stage))

    return control


def monolithic(directory: str | Path) -> Controller:
    """The rival without experts: one exported network for everything."""
    policy = load_monolithic(directory)

    def control(scene: Scene, stage: np.ndarray, step: int) -> np.ndarray:
        return policy(gate_observation(scene))

    return control


def run_in_simulation(
    controller: Controller,
    seeds: Sequence[int],
    scenario: int | None = None,
    skill: str | None = None,
    **options: Any,
) -> list[SimulatedOutcome]:
    """Run one episode for each seed on the whole bench, all at once.

    Args:
        controller: acts in every episode.
        seeds: of the episodes, at least one.
        scenario: 1 to 7, or
        skill: one of `SKILLS`.
        options: further ones of `BenchVectorEnv`, such as `errors`.

    Returns:
        One outcome a seed, in order.

    Raises:
        TaskError, UnknownSkillError: no such scenario or skill.
    """
    start = first_stage(scenario, skill)
    total = 1 if scenario is None else len(SKILLS) - start
    whole = {"parts": ALL_PARTS} if skill is not None else {}
    env = BenchVectorEnv(len(seeds), scenario=scenario, skill=skill, **(whole | options))
    _, info = env.reset(seed=list(seeds))
    running = np.ones(len(seeds), dtype=bool)
    outcomes: list[SimulatedOutcome | None] = [None] * len(seeds)
    step = 0
    while running.any():
        actions = controller(info["scene"], info["stage"], step)
        actions = np.clip(actions, env.single_action_space.low, env.single_action_space.high)
        _, _, terminated, truncated, info = env.step(actions)
        step += 1
        for i in np.flatnonzero(running & (terminated | truncated)):
            success = bool(info["success"][i])
            ended = "failed" if terminated[i] else "timed_out"
            kind = int(info["disturbed"][i])
            outcomes[i] = SimulatedOutcome(
                scenario=scenario,
                skill=skill,
                seed=int(seeds[i]),
                state="succeeded" if success else ended,
                success=success,
                time=step * DECISION_PERIOD,
                stages_done=max(0, int(info["stage"][i]) - start),
                stages_total=total,
                disturbance=KINDS[kind] if kind >= 0 else "",
            )
        running &= ~(terminated | truncated)
        env.stop(~running)
    return [outcome for outcome in outcomes if outcome is not None]
