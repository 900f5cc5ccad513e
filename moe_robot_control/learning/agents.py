"""Agents over sequences: a policy and a value for every step, whatever they remember.

Sequences lead with (T, n): T steps of n environments. `begins` says where an episode begins, which
is where what was remembered is forgotten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from moe_robot_control.learning.action_distributions import Coarse, Distribution, Gaussian
from moe_robot_control.learning.networks import mlp, split_observation
from moe_robot_control.policies.spaces import DECISION_PERIOD, MAX_SPEED

LOG_STD = (-3.0, 0.5)
"""Bounds of the logarithm of a Gaussian's standard deviation."""

Features = Callable[[Tensor], Tensor]


class Trunk(nn.Module):
    """What policy and value have in common: observations to features.

    Attributes:
        num_outputs: how many features.
        memory_size: how many numbers are remembered; 0 for none.
    """

    num_outputs: int
    memory_size: int = 0

    def forward(self, x: Tensor, memory: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """Features (T, n, f) and the memory afterwards (n, h), of (T, n, d), (n, h), (T, n)."""
        raise NotImplementedError


class FeedForward(Trunk):
    """Two layers, no memory."""

    def __init__(self, num_inputs: int, features: Features, width: int) -> None:
        """Build it; `features` is what is made of an observation first, (b, d) -> (b, f)."""
        super().__init__()
        self._features = features
        size = features(torch.zeros(1, num_inputs)).shape[1]
        self.layers = nn.Sequential(
            nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.num_outputs = width

    def encode(self, x: Tensor) -> Tensor:
        """Features of observations whatever came before. (b, d) -> (b, f)."""
        return self.layers(self._features(x))

    def forward(self, x: Tensor, memory: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk`."""
        return self.encode(x.flatten(0, 1)).unflatten(0, x.shape[:2]), memory


class Recurrent(Trunk):
    """A layer, a gated recurrent unit (Cho et al. 2014), and what came in beside what it says."""

    def __init__(self, num_inputs: int, features: Features, width: int) -> None:
        """Build it; `features` as for `FeedForward`."""
        super().__init__()
        self._features = features
        size = features(torch.zeros(1, num_inputs)).shape[1]
        self.layers = nn.Sequential(nn.Linear(size, width), nn.SiLU())
        self.cell = nn.GRUCell(width, width)
        self.memory_size = width
        self.num_outputs = 2 * width

    def forward(self, x: Tensor, memory: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk`."""
        inputs = self.layers(self._features(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        # whole stretches at once, up to where some episode begins
        firsts = {0, *torch.nonzero(begins.any(dim=1)).flatten().tolist()}
        weights = list(self.cell.parameters())
        outputs = []
        for first, following in itertools.pairwise([*sorted(firsts), len(x)]):
            kept = memory * ~begins[first][:, None]
            output, last = torch.gru(
                inputs[first:following], kept[None], weights,
                has_biases=True, num_layers=1, dropout=0.0, train=self.training,
                bidirectional=False, batch_first=False,
            )  # fmt: skip
            outputs.append(output)
            memory = last[0]
        return torch.cat([inputs, torch.cat(outputs)], dim=-1), memory


class PerTask(Trunk):
    """A feed-forward network for each task, told by the one-hot vector that ends observations."""

    def __init__(self, num_inputs: int, features: Features, width: int, num_tasks: int) -> None:
        """Build M networks; `features` is of the observation without its last M numbers."""
        super().__init__()
        self.networks = nn.ModuleList(
            FeedForward(num_inputs - num_tasks, features, width) for _ in range(num_tasks)
        )
        self.num_outputs = width

    def forward(self, x: Tensor, memory: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk`."""
        return per_task(x, [network.encode for network in self.networks], self.num_outputs), memory


class PerTaskHeads(nn.Module):
    """A linear layer for each task."""

    def __init__(self, num_inputs: int, num_outputs: int, num_tasks: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(num_inputs, num_outputs) for _ in range(num_tasks))

    def forward(self, features: Tensor, tasks: Tensor) -> Tensor:
        """Of features (T, n, f) and one-hot tasks (T, n, M)."""
        joined = torch.cat([features, tasks], dim=-1)
        return per_task(joined, list(self.heads), self.heads[0].out_features)


def per_task(x: Tensor, networks: Sequence[Callable[[Tensor], Tensor]], outputs: int) -> Tensor:
    """Send each element to its task's network. (T, n, d + M) -> (T, n, `outputs`).

    Args:
        x: observations that end in a one-hot task.
        networks: of M tasks, (b, d) -> (b, `outputs`).
        outputs: their outputs' length.
    """
    num_tasks = len(networks)
    flat = x.flatten(0, 1)
    states, tasks = flat[:, :-num_tasks], flat[:, -num_tasks:].argmax(dim=1)
    result = flat.new_zeros(len(flat), outputs)
    for task in range(num_tasks):
        at = torch.nonzero(tasks == task).squeeze(1)
        if len(at):
            result = result.index_copy(0, at, networks[task](states[at]))
    return result.unflatten(0, x.shape[:2])


class Agent(nn.Module):
    """A trunk with a policy's and a value's head."""

    def __init__(self, trunk: Trunk, num_outputs: int, num_tasks: int = 0) -> None:
        """Join them.

        Args:
            trunk: features of observations.
            num_outputs: numbers that describe the policy's distribution.
            num_tasks: M, for heads of each task's own; 0 for heads of all.
        """
        super().__init__()
        self.trunk, self._num_tasks = trunk, num_tasks
        if num_tasks:
            self.policy: nn.Module = PerTaskHeads(trunk.num_outputs, num_outputs, num_tasks)
            self.value: nn.Module = PerTaskHeads(trunk.num_outputs, 1, num_tasks)
            weights = [head.weight for head in self.policy.heads]
        else:
            self.policy = nn.Linear(trunk.num_outputs, num_outputs)
            self.value = mlp(trunk.num_outputs, 1, 64, 1)
            weights = [self.policy.weight]
        # the first policy is the same everywhere: nothing is preferred that was not learned
        for weight in weights:
            nn.init.normal_(weight, std=0.01)

    def memory(self, count: int) -> Tensor:
        """What is remembered before anything was seen. Shape (count, h)."""
        return torch.zeros(count, self.trunk.memory_size)

    def forward(
        self, x: Tensor, memory: Tensor, begins: Tensor
    ) -> tuple[Distribution, Tensor, Tensor]:
        """Follow sequences.

        Args:
            x: observations. Shape (T, n, d).
            memory: before them. Shape (n, h).
            begins: which of them begin an episode. Shape (T, n), bool.

        Returns:
            The distribution of actions and the value, (T, n), of each step, and the memory
            afterwards.
        """
        features, memory = self.trunk(x, memory, begins)
        if self._num_tasks:
            tasks = x[..., -self._num_tasks :]
            output, value = self.policy(features, tasks), self.value(features, tasks)
        else:
            output, value = self.policy(features), self.value(features)
        return self.distribution(output, x), value[..., 0], memory

    def distribution(self, output: Tensor, x: Tensor) -> Distribution:
        """What the policy's output means for observations. (..., o), (..., d) -> of actions."""
        raise NotImplementedError


class GaussianAgent(Agent):
    """Continuous actions about tanh of the network's answer, explored alike everywhere."""

    def __init__(
        self, trunk: Trunk, num_actions: int, initial_std: float, num_tasks: int = 0
    ) -> None:
        super().__init__(trunk, num_actions, num_tasks)
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(initial_std)))

    def distribution(self, output: Tensor, x: Tensor) -> Gaussian:
        """See `Agent`."""
        return Gaussian(torch.tanh(output), self.log_std.clamp(*LOG_STD))


class CoarseAgent(Agent):
    """One of a few actions."""

    def __init__(
        self, trunk: Trunk, moves: Callable[[Tensor], Tensor], num_moves: int, std: float
    ) -> None:
        """Choose among moves, shaken a little.

        Args:
            trunk: features of observations.
            moves: actions among which to choose, of observations: (..., d) -> (..., m, a).
            num_moves: m.
            std: of the shaking.
        """
        super().__init__(trunk, num_moves)
        self._moves, self._std = moves, std

    def distribution(self, output: Tensor, x: Tensor) -> Coarse:
        """See `Agent`."""
        return Coarse(output, self._moves(x), self._std)


NUM_MOVES = 22


def coarse_moves(x: Tensor) -> Tensor:
    """Few directions: stay, along an axis, to an object, or to above or below it.

    All at full speed, or what just reaches the place; each with the gripper open or closed.

    Args:
        x: observations of a skill with room for two objects. Shape (..., 12).

    Returns:
        Actions in [-1, 1]. Shape (..., 22, 4).
    """
    tip, _, positions, known = split_observation(x)
    # an unknown object is no direction
    away = (positions - tip[..., None, :]) * known
    level = away * away.new_tensor([1.0, 1.0, 0.0])
    goals = torch.cat([away, level], dim=-2) / (DECISION_PERIOD * MAX_SPEED)
    goals = goals / torch.linalg.vector_norm(goals, dim=-1, keepdim=True).clamp(min=1.0)
    axes = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).to(x)
    ways = torch.cat([axes.expand(*x.shape[:-1], 7, 3), goals], dim=-2)
    return torch.cat([_with_gripper(ways, opening) for opening in (1.0, -1.0)], dim=-2)


def _with_gripper(ways: Tensor, opening: float) -> Tensor:
    return torch.cat([ways, torch.full_like(ways[..., :1], opening)], dim=-1)
