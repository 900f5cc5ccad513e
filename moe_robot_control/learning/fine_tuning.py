"""Improving one expert by its own experience, from recorded episodes on (AWAC)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.learning.awac import AwacLearner, GaussianPolicy, Transitions
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


class _Features(nn.Module):
    """Layers of a skill's features and of what follows the observation in the input."""

    def __init__(self, skill: str, more: int, outputs: int, config: FineTuningConfig) -> None:
        super().__init__()
        self.num_inputs = expert_observation_size(skill)
        size = skill_features(torch.zeros(1, self.num_inputs)).shape[1]
        self.layers = mlp(size + more, outputs, config.network_width, config.network_depth)

    def forward(self, x: Tensor) -> Tensor:
        features = skill_features(x[:, : self.num_inputs])
        return self.layers(torch.cat([features, x[:, self.num_inputs :]], dim=1))


class _Deployed(nn.Module):
    """Mean and standard deviation in physical units, (n, 8), or the mean alone, (n, 4)."""

    def __init__(self, policy: GaussianPolicy, gaussian: bool) -> None:
        super().__init__()
        self.policy, self.gaussian = policy, gaussian
        self.register_buffer("low", torch.tensor(ACTION_LOW, dtype=torch.float32))
        self.register_buffer("reach", torch.tensor((ACTION_HIGH - ACTION_LOW) / 2).float())

    def forward(self, observation: Tensor) -> Tensor:
        mean, log_std = self.policy.parameters_of(observation)
        mean = self.low + (mean + 1.0) * self.reach
        if not self.gaussian:
            return mean
        return torch.cat([mean, log_std.exp() * self.reach], dim=1)


class FineTuner:
    """A policy that learns from recorded transitions, then from its own as well.

    Attributes:
        episodes: online episodes learned from.
        updates: of the networks so far.
        curve: online episodes, own transitions and success at every evaluation.
    """

    def __init__(
        self,
        skill: str,
        prior: Transitions,
        log: TransitionLog,
        config: FineTuningConfig,
        seed: int,
        folder: Path,
    ) -> None:
        """Build the networks, or take up the checkpoint of the same training.

        Args:
            skill: whose expert.
            prior: recorded transitions, kept for ever.
            log: of own transitions.
            config: of the training.
            seed: of all randomness.
            folder: of the checkpoint.

        Raises:
            TrainingError: an unreadable checkpoint.
        """
        self.skill, self.config = skill, config
        self._prior, self._log, self._seed, self._folder = prior, log, seed, folder
        torch.manual_seed(seed)
        policy = GaussianPolicy(_Features(skill, 0, 2 * ACTION_SIZE, config))
        self.learner = AwacLearner(
            policy, lambda: _Features(skill, ACTION_SIZE, 1, config), config.awac
        )
        self.episodes = self.updates = 0
        self.curve: list[tuple[int, int, float]] = []
        self._best: tuple[float, dict[str, Any]] | None = None
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
        """Learn from the recorded transitions alone; yields the losses of every update."""
        while self.updates < self.config.offline_updates:
            yield self._update()
        self.save()

    def improve(self, new: int) -> dict[str, float]:
        """Learn from everything after an episode of `new` transitions."""
        losses: dict[str, float] = {}
        for _ in range(round(new * self.config.updates_per_step)):
            losses = self._update()
        self.episodes += 1
        self.save()
        return losses

    def judge(self, success: float) -> bool:
        """Note an evaluation's success; go back to the best policy where this one is worse.

        Returns:
            Whether it was rolled back.
        """
        self.curve.append((self.episodes, len(self._log), success))
        best = self._best
        worse = best is not None and success < best[0] - self.config.tolerated_loss
        if worse:
            self.learner.load_state_dict(best[1])
        elif best is None or success >= best[0]:
            self._best = success, copy.deepcopy(self.learner.state_dict())
        self.save()
        return worse

    def export(self, path: Path, gaussian: bool) -> None:
        """Write the policy as ONNX, in place of the file before, all or nothing.

        Args:
            path: of the file.
            gaussian: with standard deviations, to explore; else the mean alone, to deploy.
        """
        deployed = _Deployed(self.learner.policy, gaussian)
        unfinished = path.with_suffix(".new")
        example = self._prior.states[:64]
        export_onnx(deployed, unfinished, example, "observation", "action")
        unfinished.replace(path)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "episodes": self.episodes,
            "updates": self.updates,
            "curve": self.curve,
            "best": self._best,
            "learner": self.learner.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.learner.optimisers],
        }
        save_checkpoint(self._folder / CHECKPOINT, self._about(), state)

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
        self.learner.load_state_dict(state["learner"])
        for optimiser, own in zip(self.learner.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(own)

    def _update(self) -> dict[str, float]:
        self.updates += 1
        return self.learner.update(self._sample())

    def _sample(self) -> Transitions:
        batch = self.config.awac.batch
        own = round(batch * self.config.online_share) if len(self._log) else 0
        rows = torch.from_numpy(self._rng.integers(len(self._prior.states), size=batch - own))
        recorded = [column[rows] for column in vars(self._prior).values()]
        if not own:
            return Transitions(*recorded)
        lived = self._log.transitions(self._rng.integers(len(self._log), size=own))
        pairs = zip(recorded, vars(lived).values(), strict=True)
        return Transitions(*(torch.cat(pair) for pair in pairs))
