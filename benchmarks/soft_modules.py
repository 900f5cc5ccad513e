"""Soft modules as one batched product against a loop over modules: time of an actor's update.

    python benchmarks/soft_modules.py

Both compute the same network (checked here) with the same weights.
"""

from __future__ import annotations

import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from moe_robot_control.learning.soft_modularization import SoftModularNetwork

TASKS, INPUTS, OUTPUTS = 10, 39, 8
REPEATS = 30


def looped(network: SoftModularNetwork, state: Tensor, task: Tensor) -> Tensor:
    """The network's equations, module by module and connection by connection."""
    x = network.state_features(state)
    routing = network.routing(x * network.task_features(task))
    count = network.routing.num_modules

    def apply(layer: torch.nn.Module, i: int, inputs: Tensor) -> Tensor:
        return inputs @ layer.weight[i] + layer.bias[i]

    outputs = [apply(network.layers[0], i, torch.relu(x)) for i in range(count)]
    for level, layer in enumerate(network.layers[1:]):
        following = []
        for i in range(count):
            mixed = torch.zeros_like(outputs[0])
            for j in range(count):
                mixed = mixed + routing[:, level, i, j, None] * torch.relu(outputs[j])
            following.append(apply(layer, i, mixed))
        outputs = following
    return sum(apply(network.head, i, torch.relu(outputs[i])) for i in range(count))


def seconds(network: SoftModularNetwork, function, state: Tensor, task: Tensor) -> float:
    """Least time of a forward and a backward pass: what others take only adds."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        function(state, task).square().mean().backward()
        times.append(time.perf_counter() - begin)
        network.zero_grad()
    return min(times)


def main() -> None:
    """Print a table over sizes."""
    torch.set_num_threads(1)
    table = Table("modules", "layers", "width", "batch", "loop [ms]", "batched [ms]", "ratio")
    for modules, layers, width, batch in (
        (4, 2, 64, 112),
        (4, 4, 128, 112),
        (4, 4, 128, 1280),
        (16, 4, 64, 112),
        (16, 4, 64, 1280),
    ):
        torch.manual_seed(0)
        network = SoftModularNetwork(INPUTS, TASKS, OUTPUTS, width, modules, layers)
        state = torch.randn(batch, INPUTS)
        task = torch.eye(TASKS)[torch.randint(TASKS, (batch,))]

        def loop(state: Tensor, task: Tensor, network: SoftModularNetwork = network) -> Tensor:
            return looped(network, state, task)

        torch.testing.assert_close(loop(state, task), network(state, task))
        slow, fast = (1e3 * seconds(network, f, state, task) for f in (loop, network))
        cells = (modules, layers, width, batch, f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}")
        table.add_row(*map(str, cells))
    Console().print(table)


if __name__ == "__main__":
    main()
