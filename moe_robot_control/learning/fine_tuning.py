"""Improving one expert by its own experience, from recorded episodes on (AWAC)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.learning.awac import AwacConfig, AwacLearner, StochasticPolicy, Transitions
from moe_robot_control.learning.awac_config import FineTuningConfig
from moe_robot_control.learning.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.networks import mlp, skill_features
from moe_robot_control.learning.transitions import TransitionLog
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    ACTION_SIZE,
    expert_observation_size,
)

EVALUATION_SEED = 60_000
"""Of the first evaluation episode; the same ones at every evaluation of a training."""

_SAVE_EVERY = 1000
"""Updates of the offline phase from one checkpoint to the next."""


def use_one_core() -> None:
    """Small networks gain nothing by more, and the graph beside needs the others."""
    torch.set_num_threads(1)


def exploration_seed(seed: int, episode: int) -> int:
    """Seed of an online episode of a training; no two trainings share one."""
    return 100_000 * (1 + seed) + episode


class FeaturedNetwork(nn.Module):
    """Layers of a skill's features and of what follows the observation in the input."""

    def __init__(self, skill: str, layers: nn.Module) -> None:
        """Put a skill's features before the layers.

        Args:
            skill: whose observation comes first in the input.
            layers: of its features and of what follows it.
        """
        super().__init__()
        self.num_inputs = expert_observation_size(skill)
        self.layers = layers

    def features(self, x: Tensor) -> Tensor:
        """What the layers see."""
        features = skill_features(x[:, : self.num_inputs])
        return torch.cat([features, x[:, self.num_inputs :]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.features(x))


def num_features(skill: str) -> int:
    """How many numbers a skill's features are."""
    return skill_features(torch.zeros(1, expert_observation_size(skill))).shape[1]


class InPhysicalUnits(nn.Module):
    """Actions of a network, in [-1, 1], as velocities [m/s] and gripper opening [m]. (n, 4)."""

    def __init__(self, network: nn.Module, mean_of: Callable[[Tensor], Tensor]) -> None:
        """Deploy what `mean_of`, which uses `network`, makes of observations, (n, d) -> (n, 4)."""
        super().__init__()
        self.network = network
        self.mean_of = mean_of
        self.register_buffer("low", torch.tensor(ACTION_LOW, dtype=torch.float32))
        self.register_buffer("reach", torch.tensor((ACTION_HIGH - ACTION_LOW) / 2).float())

    def forward(self, observation: Tensor) -> Tensor:
        return self.low + (self.mean_of(observation) + 1.0) * self.reach


class _WithSpread(InPhysicalUnits):
    """Centre and standard deviation of what explores, in physical units. (n, 8)."""

    def __init__(self, policy: StochasticPolicy, config: FineTuningConfig) -> None:
        super().__init__(policy, policy.centre)
        self.config = config

    def forward(self, observation: Tensor) -> Tensor:
        _, log_spread = self.network.parameters_of(observation)
        spread = exploration_spread(log_spread, self.config) * self.reach
        return torch.cat([super().forward(observation), spread], dim=1)


def exploration_spread(log_spread: Tensor, config: FineTuningConfig) -> Tensor:
    """Standard deviations of actions in [-1, 1] that explore. (n, 4) -> (n, 4).

    Velocities vary by no less than `config.exploration_speed`: where a policy hardly moves, it
    often hardly varies either, and would stay there.
    """
    spread = config.exploration_share * log_spread.exp()
    least = spread.new_tensor([config.exploration_speed] * (ACTION_SIZE - 1) + [0.0])
    return torch.maximum(spread, least)


def keyframes(recorded: Transitions) -> np.ndarray:
    """Numbers of the steps about which the gripper was switched: one before, one after.

    Steps like these decide an episode, but are few; and what precedes them differs from them by
    the gripper's own opening. A policy that sees all steps alike learns to leave the gripper as
    it is (Wen et al. 2021, arXiv 2106.06452, who weigh such steps for the same reason).
    """
    opening = recorded.actions[:, -1] > 0.0
    same_episode = (recorded.next_states[:-1] == recorded.states[1:]).all(dim=1)
    changed = np.flatnonzero((same_episode & (opening[1:] != opening[:-1])).numpy())
    around = np.unique(changed[:, None] + np.arange(3))
    return around[around < len(opening)]


MakeLearner = Callable[[StochasticPolicy, Callable[..., nn.Module], AwacConfig], AwacLearner]
"""From a policy, what makes critics of states and actions (given 0: of states alone), and
hyper-parameters."""


class FineTuner:
    """A policy that learns from recorded transitions, then from its own as well.

    Attributes:
        episodes: online episodes learned from.
        updates: of the networks so far.
        learner: of the networks, which see a skill's features in place of states.
        policy: what acts on states: the moving average of the learner's parameters. A single
            update's policy succeeds now more, now less often, as a few centimetres decide; the
            average does not.
        curve: online episodes, own transitions, success at every evaluation, and that of the
            policy that went on acting: after a roll-back the best one's.
    """

    def __init__(
        self,
        skill: str,
        prior: Transitions,
        log: TransitionLog,
        config: FineTuningConfig,
        seed: int,
        folder: Path,
        make_learner: MakeLearner = AwacLearner,
    ) -> None:
        """Build the networks, or take up the checkpoint of the same training.

        Args:
            skill: whose expert.
            prior: recorded transitions, kept for ever.
            log: of own transitions.
            config: of the training.
            seed: of all randomness.
            folder: of the checkpoint.
            make_learner: the algorithm.

        Raises:
            TrainingError: an unreadable checkpoint.
        """
        self.skill, self.config = skill, config
        self._log, self._seed, self._folder = log, seed, folder
        self._example = prior.states[:64]
        torch.manual_seed(seed)
        # the learner sees features; those of what was recorded are made once
        size = config.network_width, config.network_depth
        inputs = num_features(skill)
        layers = mlp(inputs, 2 * ACTION_SIZE, *size)
        self.learner = make_learner(
            StochasticPolicy(layers, config.policy_distribution),
            lambda more=ACTION_SIZE: mlp(inputs + more, 1, *size),
            config.awac,
        )
        average = FeaturedNetwork(skill, copy.deepcopy(layers))
        self.policy = StochasticPolicy(average, config.policy_distribution)
        self.policy.requires_grad_(False)
        self.episodes = self.updates = 0
        self.curve: list[tuple[int, int, float, float]] = []
        self._best: tuple[float, dict[str, Any]] | None = None
        self._keyframes = keyframes(prior)
        self._prior = _featured(prior)
        self._resume()
        # another sequence after an interruption
        self._rng = np.random.default_rng([seed, self.updates, len(log)])
        torch.manual_seed(int(self._rng.integers(2**31)))

    @property
    def evaluation_due(self) -> bool:
        """Whether the policy is to be evaluated before the next episode."""
        judged = self.curve[-1][0] if self.curve else None
        return self.episodes % self.config.evaluate_every == 0 and self.episodes != judged

    def pretrain(self) -> Iterator[dict[str, float]]:
        """Learn from the recorded transitions alone, and, taken up again, catch up.

        Yields the losses of every update. How many there are depends on the transitions on disk
        alone, so that a training that was killed makes no fewer than one that was not.
        """
        while self.updates < self._due:
            yield self._update()
            if self.updates % _SAVE_EVERY == 0:
                self.save()
        self.save()

    def improve(self) -> dict[str, float]:
        """Learn from everything after an episode; returns the last update's losses."""
        losses: dict[str, float] = {}
        while self.updates < self._due:
            losses = self._update()
        self.episodes += 1
        self.save()
        return losses

    @property
    def _due(self) -> int:
        """How many updates the recorded and the own transitions ask for."""
        config = self.config
        return config.offline_updates + round(len(self._log) * config.updates_per_step)

    def judge(self, success: float) -> bool:
        """Note an evaluation's success; go back to the best policy where this one is worse.

        Returns:
            Whether it was rolled back.
        """
        best = self._best
        worse = best is not None and success < best[0] - self.config.tolerated_loss
        deployed = best[0] if worse else success
        self.curve.append((self.episodes, len(self._log), success, deployed))
        if worse:
            self._set_parameters(best[1])
        elif best is None or success >= best[0]:
            self._best = success, copy.deepcopy(self._parameters())
        self.save()
        return worse

    @property
    def best_policy(self) -> StochasticPolicy:
        """The one of the best evaluation, the latest of equals; before any, what acts."""
        policy = copy.deepcopy(self.policy)
        if self._best is not None:
            policy.load_state_dict(self._best[1]["policy"])
        return policy

    def export(self, path: Path, gaussian: bool) -> None:
        """Write the policy as ONNX, in place of the file before, all or nothing.

        Args:
            path: of the file.
            gaussian: with standard deviations, to explore; else the best policy's centre alone,
                to deploy.
        """
        policy = self.policy if gaussian else self.best_policy
        alone = InPhysicalUnits(policy, policy.centre)
        deployed = _WithSpread(policy, self.config) if gaussian else alone
        unfinished = path.with_suffix(".new")
        export_onnx(deployed, unfinished, self._example, "observation", "action")
        unfinished.replace(path)

    def explore(self, states: Tensor) -> Tensor:
        """Actions drawn to learn from. (n, d) -> (n, 4)."""
        centre, log_spread = self.policy.parameters_of(states)
        spread = exploration_spread(log_spread, self.config)
        return centre + spread * torch.randn_like(centre)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "episodes": self.episodes,
            "updates": self.updates,
            "curve": self.curve,
            "best": self._best,
            "parameters": self._parameters(),
            "optimisers": [optimiser.state_dict() for optimiser in self.learner.optimisers],
        }
        save_checkpoint(self._folder / CHECKPOINT, self._about(), state)

    def _parameters(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "policy": self.policy.state_dict()}

    def _set_parameters(self, parameters: dict[str, Any]) -> None:
        self.learner.load_state_dict(parameters["learner"])
        self.policy.load_state_dict(parameters["policy"])

    def _about(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "seed": self._seed, "skill": self.skill}

    def _resume(self) -> None:
        state = load_checkpoint(self._folder / CHECKPOINT, self._about())
        if state is None:
            return
        self.episodes, self.updates, self._best = (
            state[name] for name in ("episodes", "updates", "best")
        )
        self.curve = [tuple(row) for row in state["curve"]]
        self._set_parameters(state["parameters"])
        for optimiser, own in zip(self.learner.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(own)

    def _update(self) -> dict[str, float]:
        self.updates += 1
        losses = self.learner.update(self._sample())
        with torch.no_grad():
            own = list(self.learner.policy.parameters())
            # the first ones count alike: what the networks began with is forgotten
            rate = max(1.0 - self.config.average_decay, 1.0 / self.updates)
            torch._foreach_lerp_(list(self.policy.parameters()), own, rate)
        return losses

    def _sample(self) -> Transitions:
        batch = self.config.awac.batch
        own = round(batch * self.config.online_share) if len(self._log) else 0
        prior = batch - own
        key = round(prior * self.config.keyframe_share) if len(self._keyframes) else 0
        anywhere = self._rng.integers(len(self._prior.states), size=prior - key)
        rows = np.append(anywhere, self._rng.choice(self._keyframes, size=key) if key else [])
        rows = torch.from_numpy(rows.astype(np.int64))
        recorded = [column[rows] for column in vars(self._prior).values()]
        if own:
            lived = _featured(self._log.transitions(self._rng.integers(len(self._log), size=own)))
            pairs = zip(recorded, vars(lived).values(), strict=True)
            recorded = [torch.cat(pair) for pair in pairs]
        return Transitions(*recorded)


def _featured(batch: Transitions) -> Transitions:
    """The same transitions, with features in place of states."""
    following = skill_features(batch.next_states)
    return replace(batch, states=skill_features(batch.states), next_states=following)
