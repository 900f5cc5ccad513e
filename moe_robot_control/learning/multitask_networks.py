"""Rivals of Soft Modularization: other networks of a state and a task.

All map s, shape (b, inputs), and z, the task as one-hot, shape (b, tasks), to y, shape
(b, outputs), as `SoftModularNetwork` does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import mlp
from moe_robot_control.learning.soft_modularization import Modules


class MultiTaskNetwork(nn.Module):
    """One network for all tasks: y = MLP([s, z])."""

    def __init__(
        self, num_inputs: int, num_tasks: int, num_outputs: int, width: int = 256, depth: int = 3
    ) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.layers = mlp(num_inputs + num_tasks, num_outputs, width, depth, nn.ReLU)

    def forward(self, state: Tensor, task: Tensor) -> Tensor:
        return self.layers(torch.cat([state, task], dim=1))


class MultiHeadNetwork(nn.Module):
    """Shared hidden layers of s, and an output layer of its own for each task."""

    def __init__(
        self, num_inputs: int, num_tasks: int, num_outputs: int, width: int = 256, depth: int = 3
    ) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.trunk = mlp(num_inputs, width, width, depth - 1, nn.ReLU)
        self.heads = Modules(num_tasks, width, num_outputs)

    def forward(self, state: Tensor, task: Tensor) -> Tensor:
        x = torch.relu(self.trunk(state))
        answers = self.heads(x.expand(self.num_tasks, -1, -1))
        return (task.T[:, :, None] * answers).sum(dim=0)


class GatedExpertsNetwork(nn.Module):
    """Mixture of experts: y = sum_j w_j(s, z) y_j(s) with softmax weights w of a gate."""

    def __init__(
        self,
        num_inputs: int,
        num_tasks: int,
        num_outputs: int,
        width: int = 128,
        depth: int = 3,
        num_experts: int = 4,
    ) -> None:
        super().__init__()
        self.num_tasks, self.num_experts = num_tasks, num_experts
        sizes = [num_inputs, *[width] * depth, num_outputs]
        self.layers = nn.ModuleList(
            Modules(num_experts, inputs, outputs)
            for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.gate = mlp(num_inputs + num_tasks, num_experts, width, 2, nn.ReLU)

    def forward(self, state: Tensor, task: Tensor) -> Tensor:
        x = state.expand(self.num_experts, -1, -1)
        for index, layer in enumerate(self.layers):
            x = layer(torch.relu(x) if index else x)
        weights = torch.softmax(self.gate(torch.cat([state, task], dim=1)), dim=1)
        return (weights.T[:, :, None] * x).sum(dim=0)
