"""ROMAN's hybrid procedure (Triantafyllidis et al., Nature Machine Intelligence 2023).

A network begins from behavioural cloning; then PPO maximises r = w_I r_I + w_E r_E, where GAIL's
discriminator gives r_I and the task r_E, while a cloning loss fades out. Experts come first, each
alone; the manipulation network then learns over the frozen experts.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from moe_robot_control.learning.bc import BcConfig, perturb_positions
from moe_robot_control.learning.checkpoints import CHECKPOINT, load_checkpoint, save_checkpoint
from moe_robot_control.learning.gail import Discriminator
from moe_robot_control.learning.ppo import PpoLearner, Rollout
from moe_robot_control.learning.problems import Problem, to_tensor
from moe_robot_control.learning.roman_config import HybridConfig
from moe_robot_control.policies.spaces import DECISION_PERIOD
from moe_robot_control.world.envs import STEPS_PER_SKILL, BenchVectorEnv

VALIDATION_SEED = 2_000_000
"""Validations use the seeds from here on: neither demonstrated nor evaluated."""
DEMONSTRATION_NOISE = 0.003
"""Demonstrations are shown to the discriminator with errors up to this, as what it tells them
apart from has errors too [m]."""
CHECKPOINT_EVERY = 10
STUCK = STEPS_PER_SKILL
"""Validation gives up an episode that has made no progress for so many decisions."""


class HybridTrainer:
    """Reinforcement learning of one network; `run` does it all."""

    def __init__(
        self,
        problem: Problem,
        config: HybridConfig,
        cloning: BcConfig,
        seed: int,
        folder: Path,
        bar_position: int = 0,
    ) -> None:
        """Prepare everything, and take up an unfinished training of the same settings.

        Args:
            problem: what is learned; its network holds the start.
            config: of the procedure.
            cloning: weighs the parts of the cloning loss.
            seed: of all randomness.
            folder: of the checkpoint and TensorBoard's logs.
            bar_position: line of the progress bar.
        """
        self.problem, self.config, self._cloning = problem, config, cloning
        self._seed, self._folder, self._bar_position = seed, folder, bar_position
        torch.manual_seed(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self.model = problem.model
        # the discount of an action that is held
        gamma = config.ppo.gamma**config.repeat
        self._learner = PpoLearner(self.model, replace(config.ppo, gamma=gamma))
        network = problem.network
        self._discriminator = Discriminator(
            network.features,
            network.num_inputs,
            problem.num_actions,
            config.gail,
        )
        self._start = _digest(problem)
        self._scale = _ReturnScale(config.ppo.num_envs, gamma)
        self._recent: deque[bool] = deque(maxlen=200)
        self.curve: list[tuple[int, float]] = []
        """Validated success after so many environment steps."""
        self._best: dict[str, Tensor] = copy.deepcopy(network.state_dict())
        self._iteration = 0
        self._seconds, self._since = 0.0, time.monotonic()
        self._resume()

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return self._iteration * self.config.rollout_length

    @property
    def seconds(self) -> float:
        """Time taken so far, that before interruptions included [s]."""
        return self._seconds + time.monotonic() - self._since

    def run(self) -> nn.Module:
        """Train, and return the network that did best in validation, the start included."""
        config = self.config
        total = config.rollouts
        per_rollout = config.rollout_length
        if not self.curve:
            self._validate()
        if self._iteration < total:
            env = self.problem.make_env(config.ppo.num_envs)
            # another sequence of episodes after an interruption
            seeds = np.random.default_rng([self._seed, self._iteration]).integers(
                2**31, size=config.ppo.num_envs
            )
            runner = _Runner(env, self.problem, config, seeds.tolist())
            with (
                SummaryWriter(self._folder / "tensorboard") as log,
                tqdm(
                    desc=self.problem.name,
                    unit="step",
                    initial=self.steps,
                    total=total * per_rollout,
                    mininterval=1.0,
                    position=self._bar_position,
                ) as bar,
            ):
                while self._iteration < total:
                    rollout, metrics = self._collect(runner)
                    metrics |= self._learn(rollout)
                    self._iteration += 1
                    for name, value in metrics.items():
                        log.add_scalar(name, value, self.steps)
                    bar.update(per_rollout)
                    if self._iteration % config.validate_every == 0 or self._iteration == total:
                        log.add_scalar("validation", self._validate(), self.steps)
                    bar.set_postfix(
                        success=f"{metrics['success']:.2f}", validated=f"{self.curve[-1][1]:.2f}"
                    )
                    if self._iteration % CHECKPOINT_EVERY == 0 or self._iteration == total:
                        self._save()
        network = self.problem.network
        network.load_state_dict(self._best)
        return network.eval()

    def _collect(self, runner: _Runner) -> tuple[Rollout, dict[str, float]]:
        rows: dict[str, list[Tensor]] = {}
        for _ in range(self.config.ppo.rollout_steps):
            x = to_tensor(runner.observation)
            with torch.no_grad():
                action = self.model.sample(x, self._generator)
                log_prob = self.model.log_prob(x, action)
            step = runner.step(action.double().numpy())
            ended, success = step["ended"], step["success"]
            self._recent.extend(success[ended].tolist())
            drawn = {"observations": x, "actions": action, "log_probs": log_prob}
            for name, value in (drawn | step).items():
                rows.setdefault(name, []).append(value)
        stacked = {name: torch.stack(row) for name, row in rows.items()}
        stacked["rewards"], means = self._rewards(stacked)
        del stacked["success"]
        means["success"] = float(np.mean(self._recent)) if self._recent else 0.0
        return Rollout(**stacked), means

    def _rewards(self, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """r = w_I r_I + w_E r_E in units of the return's standard deviation."""
        config, extrinsic = self.config, rows["rewards"]
        reward = config.extrinsic_weight * extrinsic
        means = {"extrinsic_reward": float(extrinsic.mean())}
        if config.intrinsic_weight:
            means |= self._discriminator.update(
                self._demonstrated(), self._visited(rows), self._generator
            )
            seconds = config.repeat * DECISION_PERIOD
            flat = self._discriminator.reward(*self._pairs(rows))
            intrinsic = seconds * flat.reshape(extrinsic.shape)
            means["intrinsic_reward"] = float(intrinsic.mean())
            if config.absorbing:
                # r_I is never negative: without what would follow, ending would cost
                gamma = self._learner.config.gamma
                afterwards = seconds * self._final_reward() * gamma / (1.0 - gamma)
                intrinsic = intrinsic + rows["success"] * afterwards
            reward = reward + config.intrinsic_weight * intrinsic
        reward = reward * rows["valid"]
        return reward / self._scale.update(reward, rows["ended"], rows["valid"]), means

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        config = self.config
        left = 1.0 - self.steps / config.bc_cut_off if config.bc_cut_off else 0.0
        weight = config.bc_weight * max(0.0, left)

        def cloning() -> Tensor:
            problem = self.problem
            pick = torch.randint(
                len(problem.labels), (config.ppo.minibatch,), generator=self._generator
            )
            x = perturb_positions(
                problem.observations[pick], self._cloning.position_noise, self._generator
            )
            loss = problem.cloning_loss(problem.network, x, problem.labels[pick], self._cloning)
            return weight * loss

        warming_up = config.bc_start and self._iteration < config.ppo.warmup_rollouts
        return self._learner.update(
            rollout,
            self._generator,
            cloning if weight else None,
            critic_only=warming_up,
            pace=1.0 - self._iteration / config.rollouts,
        )

    def _pairs(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What the discriminator sees: the state reached, or the state and the action in it."""
        which = "next_observations" if self.config.gail.state_only else "observations"
        return rows[which].flatten(0, 1), rows["actions"].flatten(0, 1).clamp(-1.0, 1.0)

    def _visited(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        valid = rows["valid"].flatten()
        observations, actions = self._pairs(rows)
        return observations[valid], actions[valid]

    def _demonstrated(self) -> tuple[Tensor, Tensor]:
        problem = self.problem
        if self.config.gail.state_only:
            at = problem.transitions
        else:
            at = torch.arange(len(problem.observations))
        return self._with_errors(problem.observations[at]), problem.demonstrated_actions[at]

    def _final_reward(self) -> float:
        problem, at = self.problem, self.problem.finals
        x = self._with_errors(problem.observations[at])
        return float(self._discriminator.reward(x, problem.demonstrated_actions[at]).mean())

    def _with_errors(self, x: Tensor) -> Tensor:
        size = DEMONSTRATION_NOISE * torch.rand(len(x), 1, 1, generator=self._generator)
        return perturb_positions(x, size, self._generator)

    def _validate(self) -> float:
        """Success of the network's mean actions on fixed seeds; keeps the best network."""
        count, problem = self.config.validation_episodes, self.problem
        env = problem.make_env(count)
        observation, info = env.reset(seed=VALIDATION_SEED)
        running = np.ones(count, dtype=bool)
        success = np.zeros(count, dtype=bool)
        stage, since = info["stage"], np.zeros(count, dtype=int)
        step = 0
        while running.any():
            if step % self.config.repeat == 0:
                with torch.no_grad():
                    action = self.model.best(to_tensor(observation)).double().numpy()
            step += 1
            observation, _, terminated, truncated, info = env.step(
                problem.execute(observation, action)
            )
            success |= running & info["success"]
            since = np.where(info["stage"] == stage, since + 1, 0)
            stage = info["stage"]
            # waiting for the time limit of one that is stuck would cost minutes
            running &= ~(terminated | truncated) & (since < STUCK)
            env.stop(~running)
        share = float(success.mean())
        if share >= max((found for _, found in self.curve), default=0.0):
            self._best = copy.deepcopy(problem.network.state_dict())
        self.curve.append((self.steps, share))
        return share

    def _about(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "cloning": asdict(self._cloning),
            "seed": self._seed,
            "start": self._start,
        }

    def _save(self) -> None:
        state = {
            "iteration": self._iteration,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self._learner.optimizer.state_dict(),
            "discriminator": self._discriminator.state_dict(),
            "discriminator_optimizer": self._discriminator.optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "scale": self._scale.state(),
            "best": self._best,
            "curve": self.curve,
        }
        save_checkpoint(self._folder / CHECKPOINT, self._about(), state)

    def _resume(self) -> None:
        state = load_checkpoint(self._folder / CHECKPOINT, self._about())
        if state is None:
            return
        self._iteration = state["iteration"]
        self._seconds = state["seconds"]
        self.model.load_state_dict(state["model"])
        self._learner.optimizer.load_state_dict(state["optimizer"])
        self._discriminator.load_state_dict(state["discriminator"])
        self._discriminator.optimizer.load_state_dict(state["discriminator_optimizer"])
        self._generator.set_state(state["generator"])
        self._scale.restore(state["scale"])
        self._best = state["best"]
        self.curve = [tuple(point) for point in state["curve"]]


class _Runner:
    """Environments in which every drawn action is held for some decisions."""

    def __init__(
        self, env: BenchVectorEnv, problem: Problem, config: HybridConfig, seeds: list[int]
    ) -> None:
        self._env, self._execute = env, problem.execute
        self._repeat, self._gamma = config.repeat, config.ppo.gamma
        self.observation, _ = env.reset(seed=seeds)
        self._finished = np.zeros(env.num_envs, dtype=bool)

    def step(self, action: np.ndarray) -> dict[str, Tensor]:
        """Hold an action, shape (n, a); an episode that ends meanwhile counts up to its end."""
        running = ~self._finished
        result = {
            "valid": running.copy(),
            "next_observations": self.observation.copy(),
            "rewards": np.zeros(len(running)),
            "terminated": np.zeros_like(running),
            "ended": np.zeros_like(running),
            "success": np.zeros_like(running),
        }
        for i in range(self._repeat):
            command = self._execute(self.observation, action)
            self.observation, reward, terminated, truncated, info = self._env.step(command)
            self._finished = terminated | truncated
            result["next_observations"][running] = self.observation[running]
            result["rewards"] += self._gamma**i * reward * running
            result["terminated"] |= terminated & running
            result["ended"] |= self._finished & running
            result["success"] |= terminated & info["success"] & running
            running = running & ~self._finished
        floats = {name: to_tensor(result.pop(name)) for name in ("next_observations", "rewards")}
        return floats | {name: torch.as_tensor(value) for name, value in result.items()}


class _ReturnScale:
    """Running standard deviation of the discounted return, for rewards of any size."""

    def __init__(self, num_envs: int, gamma: float) -> None:
        self._gamma = gamma
        self._return = torch.zeros(num_envs)
        self._count, self._mean, self._square = 0, 0.0, 0.0

    def update(self, rewards: Tensor, ended: Tensor, valid: Tensor) -> float:
        """Take rewards, all (T, n); the standard deviation so far."""
        for t in range(len(rewards)):
            self._return = self._gamma * self._return + rewards[t]
            value = self._return[valid[t]]
            self._count += len(value)
            count = max(self._count, 1)
            self._mean += float((value - self._mean).sum()) / count
            self._square += float((value.square() - self._square).sum()) / count
            self._return = self._return * ~ended[t]
        return math.sqrt(max(self._square - self._mean**2, 0.0)) + 1e-4

    def state(self) -> dict[str, Any]:
        return {"numbers": [self._count, self._mean, self._square]}

    def restore(self, state: dict[str, Any]) -> None:
        self._count, self._mean, self._square = state["numbers"]


def _digest(problem: Problem) -> str:
    """Hash of what the training begins from: data, network and surroundings."""
    digest = hashlib.sha256(problem.origin.encode())
    for tensor in (problem.observations, problem.labels, *problem.network.state_dict().values()):
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()
