"""The modules, the routing network, and the rival networks of a state and a task."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from moe_robot_control.learning.multitask_networks import (
    GatedExpertsNetwork,
    MultiHeadNetwork,
    MultiTaskNetwork,
)
from moe_robot_control.learning.soft_modularization import Modules, SoftModularNetwork

INPUTS, TASKS, OUTPUTS = 6, 3, 4


def small(**options: object) -> SoftModularNetwork:
    sizes = {"width": 8, "num_modules": 3, "num_layers": 3, "features": (10, 1)}
    return SoftModularNetwork(INPUTS, TASKS, OUTPUTS, **(sizes | options))


def samples(count: int = 50, kind: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    task = torch.eye(TASKS, dtype=kind)[torch.randint(TASKS, (count,))]
    return 3.0 * torch.randn(count, INPUTS, dtype=kind), task


def test_modules_are_linear_layers_side_by_side() -> None:
    modules, x = Modules(3, 5, 2), torch.randn(3, 7, 5)
    for i in range(3):
        expected = x[i] @ modules.weight[i] + modules.bias[i]
        torch.testing.assert_close(modules(x)[i], expected)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("num_modules", "num_layers"), [(1, 2), (2, 2), (4, 4), (3, 6)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_routing_sums_to_one_over_sources(
    num_modules: int, num_layers: int, hard: bool, scale: float
) -> None:
    network = small(num_modules=num_modules, num_layers=num_layers, hard=hard)
    state, task = samples()
    for mode in (network.train(), network.eval()):
        routing = mode.probabilities(scale * state, task)
        assert routing.shape == (50, num_layers - 1, num_modules, num_modules)
        assert (routing >= 0).all()
        torch.testing.assert_close(routing.sum(-1), torch.ones(routing.shape[:-1]))
        if hard:
            assert ((routing == 0) | (routing == 1)).all()


def test_routing_depends_on_task_and_state() -> None:
    network = small()
    state, _ = samples(1)
    by_task = network.probabilities(state.expand(TASKS, -1), torch.eye(TASKS))
    assert (by_task[0] - by_task[1]).abs().max() > 1e-4
    states, _ = samples(2)
    task = torch.eye(TASKS)[[0, 0]]
    first, second = network.probabilities(states, task)
    assert (first - second).abs().max() > 1e-4
    first, second = small(state_in_routing=False).probabilities(states, task)
    torch.testing.assert_close(first, second)


def test_forward_is_the_papers_sum_over_modules() -> None:
    """The equations written as loops over targets and sources."""
    network = small()
    state, task = samples(5)
    x = network.state_features(state)
    e = x * network.task_features(task)
    routing = network.routing
    p = routing.down[0](torch.relu(e))
    logits = [p, routing.down[1](torch.relu(routing.up[0](p) * e))]
    for b in range(5):
        g = [
            torch.relu(x[b]) @ network.layers[0].weight[i] + network.layers[0].bias[i, 0]
            for i in range(3)
        ]
        for layer in (1, 2):
            shares = torch.softmax(logits[layer - 1][b].reshape(3, 3), dim=1)
            weight, bias = network.layers[layer].weight, network.layers[layer].bias
            g = [
                sum(shares[i, j] * torch.relu(g[j]) for j in range(3)) @ weight[i] + bias[i, 0]
                for i in range(3)
            ]
        head = network.head
        expected = sum(torch.relu(g[i]) @ head.weight[i] + head.bias[i, 0] for i in range(3))
        torch.testing.assert_close(network(state, task)[b], expected)


def test_one_module_is_the_plain_network() -> None:
    network = small(num_modules=1, width=10, task_in_state=True)
    plain = MultiTaskNetwork(INPUTS, TASKS, OUTPUTS, width=10, depth=5)
    linear = [layer for layer in plain.layers if isinstance(layer, nn.Linear)]
    own = [layer for layer in network.state_features if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for target, source in zip(linear[:2], own, strict=True):
            target.weight.copy_(source.weight)
            target.bias.copy_(source.bias)
        for target, source in zip(linear[2:], [*network.layers, network.head], strict=True):
            target.weight.copy_(source.weight[0].T)
            target.bias.copy_(source.bias[0, 0])
    state, task = samples()
    torch.testing.assert_close(network(state, task), plain(state, task))
    network(state, task).square().mean().backward()
    plain(state, task).square().mean().backward()
    torch.testing.assert_close(network.layers[1].weight.grad[0].T, linear[3].weight.grad)
    torch.testing.assert_close(own[0].weight.grad, linear[0].weight.grad)
    assert all(p.grad is None or not p.grad.any() for p in network.routing.parameters())


@pytest.mark.parametrize("options", [{}, {"task_in_state": True}, {"state_in_routing": False}])
def test_gradients_against_finite_differences(options: dict[str, bool]) -> None:
    network = small(width=4, num_modules=2, features=(5, 1), **options).double()
    state, task = samples(3, torch.float64)
    names, values = zip(*network.named_parameters(), strict=True)

    def answer(state: Tensor, *parameters: Tensor) -> Tensor:
        found = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(network, found, (state, task))

    assert torch.autograd.gradcheck(answer, (state.requires_grad_(), *values), atol=1e-6)


def test_hard_routing_learns() -> None:
    network = small(hard=True).train()
    network(*samples()).square().mean().backward()
    assert all(layer.weight.grad.abs().max() > 0 for layer in network.routing.down)


def test_heads_are_chosen_by_the_task() -> None:
    network = MultiHeadNetwork(INPUTS, TASKS, OUTPUTS, 8, 2)
    state, _ = samples(1)
    before = network(state.expand(TASKS, -1), torch.eye(TASKS))
    with torch.no_grad():
        network.heads.weight[1] += 1.0
    after = network(state.expand(TASKS, -1), torch.eye(TASKS))
    assert ((before - after).abs().amax(1) > 0).tolist() == [False, True, False]


def test_experts_are_mixed_by_the_gate() -> None:
    network = GatedExpertsNetwork(INPUTS, TASKS, OUTPUTS, 8, 2, 3)
    state, task = samples(5)
    weights = torch.softmax(network.gate(torch.cat([state, task], dim=1)), dim=1)
    expected = torch.zeros(5, OUTPUTS)
    for expert in range(3):
        x = state
        for index, layer in enumerate(network.layers):
            x = (torch.relu(x) if index else x) @ layer.weight[expert] + layer.bias[expert]
        expected = expected + weights[:, expert, None] * x
    torch.testing.assert_close(network(state, task), expected)


def test_tasks_begin_with_routes_of_their_own() -> None:
    torch.manual_seed(0)
    network = SoftModularNetwork(45, 7, 8, 40, 4, 2, (96, 1))
    states = torch.randn(64, 45).repeat(7, 1)
    tasks = torch.eye(7).repeat_interleave(64, dim=0)
    routes = network.probabilities(states, tasks).detach().unflatten(0, (7, 64)).mean(dim=1)
    assert routes.std(dim=0).mean() > 0.05
    # and none is closed
    assert routes.min() > 0.005
