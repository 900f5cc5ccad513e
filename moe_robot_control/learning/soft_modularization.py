"""Soft Modularization (Yang, Xu, Wu and Wang 2020, arXiv 2003.13661): a network of modules, and a
routing network that says for each state and task how much each feeds each of the next layer.

Every layer's modules are one batched product, so that the cost does not grow with Python's loops.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moe_robot_control.learning.networks import mlp

ROUTING_GAIN = 6.0
"""Of the initial weights of routing logits: with a linear layer's usual ones all tasks begin with
the same routes to within 0.3%, and the modules cannot tell them apart."""


class Modules(nn.Module):
    """n linear modules side by side: (n, b, inputs) -> (n, b, outputs).

    Modules lead, so that each one's samples lie together in memory.
    """

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class RoutingNetwork(nn.Module):
    """Probabilities of the connections between the layers of modules.

    With e = f(s) * h(z) (elementwise) and layers l = 1 .. L - 1 of connections, from sources j to
    targets i (eqs. 3 to 5):

        p^1     = W_d^1 ReLU(e)
        p^{l+1} = W_d^{l+1} ReLU(W_u^l p^l * e)
        P^l_ij  = exp(p^l_ij) / sum_j exp(p^l_ij)

    `hard` draws one source for each target instead (the rival *hard routing*): straight-through
    Gumbel-softmax in training, the most probable source otherwise.
    """

    def __init__(self, width: int, num_modules: int, num_layers: int, hard: bool = False) -> None:
        """Build the network.

        Args:
            width: length d of the embedding e.
            num_modules: modules n of each layer.
            num_layers: layers L of modules.
            hard: one source for each target.
        """
        super().__init__()
        self.num_modules, self.hard = num_modules, hard
        pairs = num_modules * num_modules
        self.down = nn.ModuleList(nn.Linear(width, pairs) for _ in range(num_layers - 1))
        self.up = nn.ModuleList(nn.Linear(pairs, width) for _ in range(num_layers - 2))
        for down in self.down:
            nn.init.normal_(down.weight, std=ROUTING_GAIN / math.sqrt(width))

    def forward(self, embedding: Tensor) -> Tensor:
        """e, shape (b, d), to P, shape (b, L - 1, n, n); each row over sources sums to one."""
        n = self.num_modules
        found: list[Tensor] = []
        x = torch.relu(embedding)
        for layer, down in enumerate(self.down):
            logits = down(x)
            found.append(self._normalised(logits.unflatten(1, (n, n))))
            if layer < len(self.up):
                x = torch.relu(self.up[layer](logits) * embedding)
        if not found:
            return embedding.new_zeros((len(embedding), 0, n, n))
        return torch.stack(found, dim=1)

    def _normalised(self, logits: Tensor) -> Tensor:
        if not self.hard:
            return torch.softmax(logits, dim=-1)
        if self.training:
            return nn.functional.gumbel_softmax(logits, hard=True, dim=-1)
        return nn.functional.one_hot(logits.argmax(-1), self.num_modules).to(logits.dtype)


class SoftModularNetwork(nn.Module):
    """Base network of L layers of n modules, routed for each state and task.

    With the features x = f(s), the modules' outputs g^l_i and the routing P (eqs. 6 and 7):

        g^1_i     = W^1_i x
        g^{l+1}_i = W^{l+1}_i sum_j P^l_ij ReLU(g^l_j)
        y         = W sum over the last layer's modules of ReLU(g^L_j), one matrix for each module
    """

    def __init__(
        self,
        num_inputs: int,
        num_tasks: int,
        num_outputs: int,
        width: int = 128,
        num_modules: int = 4,
        num_layers: int = 4,
        features: tuple[int, int] = (256, 1),
        task_in_state: bool = False,
        state_in_routing: bool = True,
        hard: bool = False,
    ) -> None:
        """Build the network.

        Args:
            num_inputs: length of s.
            num_tasks: length of z, the task as one-hot.
            num_outputs: length of y.
            width: outputs d of each module.
            num_modules, num_layers: n and L.
            features: width and hidden layers of f.
            task_in_state: f sees z, too.
            state_in_routing: the routing network sees f(s) * h(z); else h(z) alone (ablation).
            hard: see `RoutingNetwork`.
        """
        super().__init__()
        self.num_tasks = num_tasks
        self.task_in_state, self.state_in_routing = task_in_state, state_in_routing
        size, depth = features
        self.state_features = mlp(
            num_inputs + num_tasks * task_in_state, size, size, depth, nn.ReLU
        )
        self.task_features = nn.Linear(num_tasks, size)
        nn.init.normal_(self.task_features.weight)  # as an embedding's
        self.routing = RoutingNetwork(size, num_modules, num_layers, hard)
        first = Modules(num_modules, size, width)
        others = [Modules(num_modules, width, width) for _ in range(num_layers - 1)]
        self.layers = nn.ModuleList([first, *others])
        self.head = Modules(num_modules, width, num_outputs)

    def forward(self, state: Tensor, task: Tensor) -> Tensor:
        """s (b, inputs) and z (b, tasks) to y (b, outputs)."""
        x, embedding = self._embed(state, task)
        return self._answer(x, self.routing(embedding))

    def probabilities(self, state: Tensor, task: Tensor) -> Tensor:
        """The routing P of each sample. Shape (b, L - 1, n, n): targets, then sources."""
        return self.routing(self._embed(state, task)[1])

    def _embed(self, state: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([state, task], dim=1) if self.task_in_state else state
        x = self.state_features(seen)
        h = self.task_features(task)
        return x, (x * h if self.state_in_routing else h)

    def _answer(self, x: Tensor, routing: Tensor) -> Tensor:
        n = self.routing.num_modules
        g = self.layers[0](torch.relu(x).expand(n, -1, -1))
        for layer in range(1, len(self.layers)):
            mixed = torch.bmm(routing[:, layer - 1], torch.relu(g).transpose(0, 1))
            g = self.layers[layer](mixed.transpose(0, 1))
        return self.head(torch.relu(g)).sum(dim=0)
