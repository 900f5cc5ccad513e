"""Multi-task soft actor-critic (Haarnoja et al. 2018) with a temperature for each task.

Networks are functions of a state s, shape (b, d), and a task z as one-hot, shape (b, M); actions
lie in [-1, 1]. With `balanced`, each task's losses are weighed by w_i = M softmax(-alpha)_i as in
Soft Modularization (Yang et al. 2020, eq. 9; M keeps the size of the losses), so that tasks whose
policy is already certain weigh more. With demonstrations, the actor also clones them beside the
reinforcement learning (Nair et al. 2018, arXiv 1709.10089, eq. 5, without their filter).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import anneal

LOG_STD_RANGE = (-5.0, 2.0)

MakeNetwork = Callable[[int, int], nn.Module]
"""From the lengths of input and output to a network of a state and a task."""


@dataclass(frozen=True)
class SacConfig:
    """Hyper-parameters.

    Attributes:
        gamma: discount.
        tau: rate of the target critics.
        learning_rate, temperature_learning_rate: of Adam.
        final_learning_rate: share of `learning_rate` that is left at the end of the training;
            actor and critics come to it linearly.
        batch: transitions of each task in an update.
        initial_temperature: alpha at the start.
        max_gradient_norm: of actor and critics.
        balanced: weigh tasks by their temperatures.
        cloning: weight of the loss that clones demonstrations.
    """

    gamma: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    final_learning_rate: float = 1.0
    batch: int = 128
    initial_temperature: float = 0.1
    max_gradient_norm: float = 1.0
    balanced: bool = False
    cloning: float = 0.0


@dataclass
class Batch:
    """k transitions of each of M tasks; tensors lead with (M * k).

    Attributes:
        states, next_states: shape (M * k, d).
        actions: shape (M * k, a).
        rewards, terminated: shape (M * k).
        tasks: one-hot. Shape (M * k, M).
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor
    tasks: Tensor

    def joined(self, other: Batch) -> Batch:
        """Both, one after the other."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Batch(*(torch.cat(pair) for pair in pairs))


class SquashedGaussian:
    """a = tanh(u), u Gaussian; log density with the change of variables (SAC, eq. 21)."""

    def __init__(self, parameters: Tensor) -> None:
        """`parameters` are mean and unbounded log standard deviation. Shape (b, 2 a)."""
        self.mean, raw = parameters.chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        self.log_std = low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Actions (b, a) and their log densities (b), both differentiable."""
        noise = torch.randn_like(self.mean)
        unsquashed = self.mean + noise * self.log_std.exp()
        gaussian = -0.5 * noise.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh(u)^2), stable for large u
        slope = 2.0 * (math.log(2.0) - unsquashed - nn.functional.softplus(-2.0 * unsquashed))
        return torch.tanh(unsquashed), (gaussian - slope).sum(-1)

    @property
    def best(self) -> Tensor:
        """tanh of the mean. Shape (b, a)."""
        return torch.tanh(self.mean)


class Replay:
    """The last transitions of each task; tasks share their arrays' shape, not their room."""

    def __init__(self, num_tasks: int, capacity: int, num_inputs: int, num_actions: int) -> None:
        self.num_tasks, self.capacity = num_tasks, capacity
        self.states = np.zeros((num_tasks, capacity, num_inputs), dtype=np.float32)
        self.next_states = np.zeros_like(self.states)
        self.actions = np.zeros((num_tasks, capacity, num_actions), dtype=np.float32)
        self.rewards = np.zeros((num_tasks, capacity), dtype=np.float32)
        self.terminated = np.zeros((num_tasks, capacity), dtype=np.float32)
        self.added = np.zeros(num_tasks, dtype=np.int64)

    def __len__(self) -> int:
        """Transitions of the task that has fewest."""
        return int(np.minimum(self.added, self.capacity).min())

    def add(
        self,
        task: int,
        states: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        next_states: np.ndarray,
        terminated: np.ndarray,
    ) -> None:
        """Append k transitions of a task, over the oldest where there is no room."""
        rows = (self.added[task] + np.arange(len(states))) % self.capacity
        self.states[task, rows] = states
        self.actions[task, rows] = actions
        self.rewards[task, rows] = rewards
        self.next_states[task, rows] = next_states
        self.terminated[task, rows] = terminated
        self.added[task] += len(states)

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw `count` transitions of each task, with replacement."""
        filled = np.minimum(self.added, self.capacity)
        rows = (rng.random((self.num_tasks, count)) * filled[:, None]).astype(np.int64)
        tasks = np.arange(self.num_tasks)[:, None]

        def taken(array: np.ndarray) -> Tensor:
            values = array[tasks, rows]
            return torch.from_numpy(values.reshape(-1, *values.shape[2:]))

        one_hot = torch.eye(self.num_tasks).repeat_interleave(count, dim=0)
        return Batch(
            taken(self.states),
            taken(self.actions),
            taken(self.rewards),
            taken(self.next_states),
            taken(self.terminated),
            one_hot,
        )

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs, filled rows only."""
        filled = int(min(self.added.max(initial=0), self.capacity))
        names = ("states", "next_states", "actions", "rewards", "terminated")
        return {name: getattr(self, name)[:, :filled] for name in names} | {"added": self.added}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take up what `state` gave."""
        for name, values in state.items():
            if name == "added":
                self.added[:] = values
            else:
                getattr(self, name)[:, : values.shape[1]] = values


def task_weights(log_alpha: Tensor, balanced: bool) -> Tensor:
    """Weight of each task's losses: M softmax(-alpha), or one. Shape (M) -> (M)."""
    if not balanced:
        return torch.ones_like(log_alpha)
    return len(log_alpha) * torch.softmax(-log_alpha.exp(), dim=0)


class SacLearner(nn.Module):
    """Actor, two critics with their targets, and a temperature for each task."""

    def __init__(
        self,
        num_inputs: int,
        num_actions: int,
        num_tasks: int,
        make_network: MakeNetwork,
        config: SacConfig,
    ) -> None:
        """Build the networks.

        Args:
            num_inputs: length d of states.
            num_actions: length a of actions.
            num_tasks: M.
            make_network: makes the actor, d -> 2 a, and the critics, d + a -> 1, which share
                nothing.
            config: hyper-parameters.
        """
        super().__init__()
        self.config, self.num_tasks = config, num_tasks
        self.actor = make_network(num_inputs, 2 * num_actions)
        self.critics = nn.ModuleList(make_network(num_inputs + num_actions, 1) for _ in range(2))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(
            torch.full((num_tasks,), math.log(config.initial_temperature))
        )
        self.target_entropy = -float(num_actions)
        rate = config.learning_rate
        self.actor_optimiser = torch.optim.Adam(self.actor.parameters(), rate, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.critics.parameters(), rate, fused=True)
        self.alpha_optimiser = torch.optim.Adam([self.log_alpha], config.temperature_learning_rate)

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Of actor, critics and temperatures."""
        return self.actor_optimiser, self.critic_optimiser, self.alpha_optimiser

    def anneal(self, progress: float) -> None:
        """Set the learning rates of actor and critics for a share of the training done."""
        config = self.config
        optimisers = self.actor_optimiser, self.critic_optimiser
        anneal(optimisers, config.learning_rate, config.final_learning_rate, progress)

    def act(self, states: Tensor, tasks: Tensor, best: bool = False) -> Tensor:
        """Actions in [-1, 1], drawn or the policy's best. (b, d), (b, M) -> (b, a)."""
        with torch.no_grad():
            policy = SquashedGaussian(self.actor(states, tasks))
            return policy.best if best else policy.sample()[0]

    def critic_loss(self, batch: Batch) -> Tensor:
        """Mean squared error to r + gamma (min Q' - alpha log pi), weighed by task."""
        alpha, weights = self._of_tasks(batch)
        with torch.no_grad():
            policy = SquashedGaussian(self.actor(batch.next_states, batch.tasks))
            actions, log_probs = policy.sample()
            values = self._lowest(self.targets, batch.next_states, actions, batch.tasks)
            following = values - alpha * log_probs
            goal = batch.rewards + self.config.gamma * (1.0 - batch.terminated) * following
        inputs = torch.cat([batch.states, batch.actions], dim=1)
        errors = [(critic(inputs, batch.tasks)[:, 0] - goal).square() for critic in self.critics]
        return (weights * sum(errors)).mean()

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """E[w (alpha log pi - min Q)], and the log densities of the actions drawn (b)."""
        alpha, weights = self._of_tasks(batch)
        policy = SquashedGaussian(self.actor(batch.states, batch.tasks))
        actions, log_probs = policy.sample()
        values = self._lowest(self.critics, batch.states, actions, batch.tasks)
        return (weights * (alpha * log_probs - values)).mean(), log_probs.detach()

    def cloning_loss(self, shown: Batch) -> Tensor:
        """Mean squared distance of the policy's best actions to demonstrated ones."""
        policy = SquashedGaussian(self.actor(shown.states, shown.tasks))
        return (policy.best - shown.actions).square().sum(-1).mean()

    def temperature_loss(self, log_probs: Tensor, tasks: Tensor) -> Tensor:
        """E[-log alpha_i (log pi + target entropy)]: a temperature that keeps the entropy."""
        return -(tasks @ self.log_alpha * (log_probs + self.target_entropy)).mean()

    def update(self, batch: Batch, shown: Batch | None = None) -> dict[str, float]:
        """One step of critics, actor, temperatures and targets; returns their losses.

        Args:
            batch: own transitions.
            shown: demonstrated ones, which count as own and are cloned, too.
        """
        cloned = shown if self.config.cloning > 0.0 else None
        batch = batch if shown is None else batch.joined(shown)
        critic_loss = self.critic_loss(batch)
        self._step(self.critic_optimiser, critic_loss, self.critics)
        self.critics.requires_grad_(False)
        actor_loss, log_probs = self.actor_loss(batch)
        if cloned is not None:
            actor_loss = actor_loss + self.config.cloning * self.cloning_loss(cloned)
        self._step(self.actor_optimiser, actor_loss, self.actor)
        self.critics.requires_grad_(True)
        temperature_loss = self.temperature_loss(log_probs, batch.tasks)
        self._step(self.alpha_optimiser, temperature_loss, None)
        with torch.no_grad():
            own, following = list(self.critics.parameters()), list(self.targets.parameters())
            torch._foreach_lerp_(following, own, self.config.tau)
        return {
            "critic_loss": critic_loss.item(),
            "actor_loss": actor_loss.item(),
            "entropy": -log_probs.mean().item(),
            "temperature": self.log_alpha.exp().mean().item(),
        }

    def _step(
        self, optimiser: torch.optim.Optimizer, loss: Tensor, network: nn.Module | None
    ) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if network is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self.config.max_gradient_norm)
        optimiser.step()

    def _of_tasks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha.detach()
        weights = task_weights(log_alpha, self.config.balanced)
        return batch.tasks @ log_alpha.exp(), batch.tasks @ weights

    @staticmethod
    def _lowest(critics: nn.ModuleList, states: Tensor, actions: Tensor, tasks: Tensor) -> Tensor:
        inputs = torch.cat([states, actions], dim=1)
        return torch.min(*(critic(inputs, tasks)[:, 0] for critic in critics))
