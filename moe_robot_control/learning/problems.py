"""What the hybrid procedure can learn: an expert, the manipulation network, or all in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning.bc import BcConfig, action_loss, weights_loss
from moe_robot_control.learning.networks import (
    ActionNetwork,
    ExpertNetwork,
    GateNetwork,
    MonolithicNetwork,
    whole_features,
)
from moe_robot_control.learning.ppo import (
    ActorCritic,
    CategoricalActorCritic,
    GaussianActorCritic,
)
from moe_robot_control.learning.record_demonstrations import WIDE_TIP_BOX
from moe_robot_control.learning.roman_config import HybridConfig
from moe_robot_control.policies.gating import sparsify
from moe_robot_control.policies.runtime import load_mixture
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    SKILLS,
    command_of,
    expert_observation,
    gate_observation,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.handovers import Handovers
from moe_robot_control.world.observers import ErrorModel
from moe_robot_control.world.tasks import WITH_MARGIN

MakeEnv = Callable[[int], BenchVectorEnv]
CloningLoss = Callable[[nn.Module, Tensor, Tensor, BcConfig], Tensor]


@dataclass
class Problem:
    """One network to learn; o is the length of its observation, a that of its action.

    Attributes:
        name: a skill, `gate` or `monolithic`.
        network: what is exported.
        model: the network with its exploration and a value network.
        num_actions: a.
        execute: observations (n, o) and actions (n, a) -> what the arm does (n, 4).
        make_env: from the number of environments.
        cloning_loss: of the network, on observations and labels.
        observations: demonstrated. Shape (N, o).
        labels: demonstrated actions or weights. Shape (N, 4) or (N, 7).
        demonstrated_actions: the same as seen by a discriminator. Shape (N, a).
        transitions: indices of observations that the step before led to.
        finals: indices of the last observation of each demonstration.
        origin: what else the training depends on: what success asks, a hash of the experts.
    """

    name: str
    network: nn.Module
    model: ActorCritic
    num_actions: int
    execute: Callable[[np.ndarray, np.ndarray], np.ndarray]
    make_env: MakeEnv
    cloning_loss: CloningLoss
    observations: Tensor
    labels: Tensor
    demonstrated_actions: Tensor
    transitions: Tensor
    finals: Tensor
    origin: str = str(WITH_MARGIN)


def expert_problem(
    skill: str,
    network: ExpertNetwork,
    episodes: Sequence[Episode],
    config: HybridConfig,
    num_threads: int = 0,
) -> Problem:
    """An expert in the scene of its skill and of the one before.

    The tip starts anywhere, or all is as the skill before leaves it.
    """

    @cache
    def handovers() -> Handovers:
        return Handovers(skill, num_threads=num_threads)

    def make_env(num_envs: int) -> BenchVectorEnv:
        return BenchVectorEnv(
            num_envs,
            skill=skill,
            parts=handovers().parts,
            handovers=handovers(),
            handed_over=config.handed_over,
            tip_box=WIDE_TIP_BOX,
            errors=_errors(config),
            disturbed=config.disturbed,
            num_threads=num_threads,
        )

    observations = [expert_observation(episode.scene, skill) for episode in episodes]
    return _action_problem(skill, network, observations, episodes, make_env, config)


def monolithic_problem(
    network: MonolithicNetwork,
    episodes: Sequence[Episode],
    config: HybridConfig,
    num_threads: int = 0,
) -> Problem:
    """One network for everything, on scenarios 1 to 7."""
    observations = [gate_observation(episode.scene) for episode in episodes]
    return _action_problem(
        "monolithic",
        network,
        observations,
        episodes,
        lambda n: _scenarios(n, config, num_threads),
        config,
    )


def gate_problem(
    network: GateNetwork,
    episodes: Sequence[Episode],
    experts: Path,
    config: HybridConfig,
    num_threads: int = 0,
) -> Problem:
    """The manipulation network over frozen experts, on scenarios 1 to 7.

    Its weights, made sparse as in the graph, mix the experts; in training one is drawn by them.

    Raises:
        PolicyLoadError: an expert in the folder `experts` is unusable.
    """
    mixture = load_mixture(experts)

    def execute(observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return mixture(observations, sparsify(actions, config.top_k))

    observations = [gate_observation(episode.scene) for episode in episodes]
    weights = to_tensor(np.concatenate([episode.weights for episode in episodes]))
    return Problem(
        name="gate",
        network=network,
        model=CategoricalActorCritic(network, config.ppo.exploration, whole_features),
        num_actions=len(SKILLS),
        execute=execute,
        make_env=lambda n: _scenarios(n, config, num_threads),
        cloning_loss=weights_loss,
        observations=to_tensor(np.concatenate(observations)),
        labels=weights,
        demonstrated_actions=weights,
        **_indices(observations),
    )


def _action_problem(
    name: str,
    network: ActionNetwork,
    observations: list[np.ndarray],
    episodes: Sequence[Episode],
    make_env: MakeEnv,
    config: HybridConfig,
) -> Problem:
    def mean_of(observation: Tensor) -> Tensor:
        velocity, opening = network.logits(observation)
        return torch.cat([velocity, torch.tanh(opening / 2.0)[:, None]], dim=1)

    labels = np.concatenate([episode.actions for episode in episodes])
    opening = labels[:, 3:] / MAX_GRIPPER_WIDTH * 2.0 - 1.0
    normalised = np.concatenate([labels[:, :3] / MAX_SPEED, opening], axis=1)
    return Problem(
        name=name,
        network=network,
        model=GaussianActorCritic(network, mean_of, 4, config.ppo.initial_std),
        num_actions=4,
        execute=lambda _, actions: command_of(actions),
        make_env=make_env,
        cloning_loss=action_loss,
        observations=to_tensor(np.concatenate(observations)),
        labels=to_tensor(labels),
        demonstrated_actions=to_tensor(normalised),
        **_indices(observations),
    )


def _scenarios(num_envs: int, config: HybridConfig, num_threads: int) -> BenchVectorEnv:
    return BenchVectorEnv(
        num_envs,
        scenario=config.scenarios,
        thresholds=WITH_MARGIN,
        errors=_errors(config),
        disturbed=config.disturbed,
        num_threads=num_threads,
    )


def _errors(config: HybridConfig) -> ErrorModel:
    return ErrorModel(config.position_bias, config.position_noise)


def _indices(observations: list[np.ndarray]) -> dict[str, Tensor]:
    ends = np.cumsum([len(part) for part in observations])
    first = np.concatenate([[0], ends[:-1]])
    others = np.setdiff1d(np.arange(ends[-1]), first)
    return {"transitions": torch.as_tensor(others), "finals": torch.as_tensor(ends - 1)}


def to_tensor(values: np.ndarray) -> Tensor:
    """An array in single precision. Same shape."""
    return torch.as_tensor(values, dtype=torch.float32)
