"""Noisy top-k gating, its load estimate, its losses and its export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.networks import GateNetwork
from moe_robot_control.learning.sparse_gate import (
    NoisyTopKGate,
    SparseGateNetwork,
    cv_squared,
    importance_loss,
    load_loss,
)
from moe_robot_control.policies.moe import top_k_softmax
from moe_robot_control.policies.runtime import load_gate
from moe_robot_control.policies.spaces import GATE_OBSERVATION_SIZE

EXPERTS = 7
INPUTS = 10
EVERY_K = pytest.mark.parametrize("k", range(1, EXPERTS + 1))
BOTH_MODES = pytest.mark.parametrize("train", [True, False])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_inputs(count: int = 40) -> Tensor:
    return torch.randn(count, INPUTS, generator=seeded(1))


def make_gate(k: int, noise: float = 0.0) -> NoisyTopKGate:
    """A gate whose noise differs from expert to expert if `noise` is not zero."""
    torch.manual_seed(0)
    gate = NoisyTopKGate(INPUTS, EXPERTS, k)
    with torch.no_grad():
        gate.w_noise += noise * torch.randn(INPUTS, EXPERTS)
    return gate


def make_observations(count: int) -> Tensor:
    given = torch.rand(count, GATE_OBSERVATION_SIZE, generator=seeded(2))
    given[:, 7::4] = (given[:, 7::4] > 0.2).float()
    return given


@EVERY_K
@BOTH_MODES
def test_exactly_k_weights_of_sum_one(k: int, train: bool) -> None:
    weights = make_gate(k, 0.5).train(train)(make_inputs(), seeded()).weights
    assert (weights.count_nonzero(dim=1) == k).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(40))


@BOTH_MODES
def test_far_apart_logits_still_keep_k(train: bool) -> None:
    gate = make_gate(3).train(train)
    answer = gate(1000.0 * make_inputs(), seeded())
    assert (answer.weights.count_nonzero(dim=1) == 3).all()
    assert torch.isfinite(answer.load).all()


@EVERY_K
def test_without_noise_it_is_the_run_time_softmax(k: int) -> None:
    gate, x = make_gate(k, 0.5).eval(), make_inputs()
    with torch.no_grad():
        answer, logits = gate(x).weights, gate.logits(x)
    np.testing.assert_allclose(answer.numpy(), top_k_softmax(logits.numpy(), k), atol=1e-6)


def test_noise_only_while_training() -> None:
    gate, x = make_gate(2), make_inputs()
    assert torch.equal(gate(x, seeded(3)).weights, gate(x, seeded(3)).weights)
    assert not torch.equal(gate(x, seeded(3)).weights, gate(x, seeded(4)).weights)
    gate.eval()
    assert torch.equal(gate(x, seeded(3)).weights, gate(x, seeded(4)).weights)


@EVERY_K
def test_gradients_reach_both_matrices(k: int) -> None:
    """By the weights for k > 1, by the load for k < E; the paper uses both."""
    gate = make_gate(k)
    answer = gate(make_inputs(), seeded())
    target = torch.randn(40, EXPERTS, generator=seeded(5))
    parameters = (gate.w_gate, gate.w_noise)
    task = (answer.weights * target).sum()
    if k > 1:
        for gradient in torch.autograd.grad(task, parameters, retain_graph=True):
            assert gradient.abs().max() > 1e-3
    if k < EXPERTS:
        for gradient in torch.autograd.grad(load_loss(answer.load), parameters):
            assert gradient.abs().max() > 1e-4


@EVERY_K
def test_load_agrees_with_monte_carlo(k: int) -> None:
    draws, rows = 20_000, 6
    gate, x = make_gate(k, 0.3), make_inputs(rows)
    with torch.no_grad():
        load = gate(x, seeded(6)).load
        clean = x @ gate.w_gate
        std = torch.nn.functional.softplus(x @ gate.w_noise)
        noisy = clean + torch.randn(rows, EXPERTS, generator=seeded(6)) * std
    fresh = seeded(7)
    for expert in range(EXPERTS):
        again = noisy.expand(draws, rows, EXPERTS).clone()
        noise = torch.randn(draws, rows, generator=fresh)
        again[..., expert] = clean[:, expert] + noise * std[:, expert]
        ahead = (again > again[..., [expert]]).sum(dim=-1)
        frequency = (ahead < k).float().mean(dim=0)
        assert (frequency - load[:, expert]).abs().max() < 0.02


@BOTH_MODES
def test_load_is_one_when_all_are_kept(train: bool) -> None:
    assert torch.equal(make_gate(EXPERTS).train(train)(make_inputs()).load, torch.ones(40, EXPERTS))


def test_losses_against_a_case_by_hand() -> None:
    # sums 1.5 and 0.5: mean 1, variance 0.25
    values = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert importance_loss(values).item() == pytest.approx(0.25)
    assert load_loss(values).item() == pytest.approx(0.25)
    # one of four gets all: mean 1/4, variance 3/16
    assert cv_squared(torch.tensor([1.0, 0.0, 0.0, 0.0])).item() == pytest.approx(3.0)
    assert cv_squared(torch.zeros(4)).item() == 0.0


def test_balanced_experts_cost_nothing() -> None:
    balanced = torch.eye(EXPERTS).repeat(3, 1)
    assert importance_loss(balanced).item() == pytest.approx(0.0, abs=1e-9)
    assert load_loss(balanced).item() == pytest.approx(0.0, abs=1e-9)
    assert load_loss(make_gate(EXPERTS)(make_inputs()).load).item() == pytest.approx(0.0, abs=1e-9)


def test_load_loss_falls_by_gradient_steps() -> None:
    gate, x = make_gate(2), make_inputs(200)
    x[:, 0] = 1.0
    with torch.no_grad():
        gate.w_gate[0, :2] += 2.0  # two experts get nearly everything
    optimizer = torch.optim.SGD(gate.parameters(), lr=0.3)
    losses = []
    for _ in range(20):
        loss = load_loss(gate(x, seeded(8)).load)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[5] < losses[0]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("k", [-1, 0, 8])
def test_k_out_of_range(k: int) -> None:
    with pytest.raises(ValueError, match="k must be within 1 and 7"):
        NoisyTopKGate(INPUTS, EXPERTS, k)
    with pytest.raises(ValueError, match="k must be within 1 and 7"):
        SparseGateNetwork(width=8, k=k)


@EVERY_K
@BOTH_MODES
def test_network_gives_k_weights(k: int, train: bool) -> None:
    torch.manual_seed(0)
    network = SparseGateNetwork(width=16, k=k).train(train)
    given = make_observations(50)
    with torch.no_grad():
        weights, answer = network(given), network.gate(given)
        logits = network.logits(given)
    assert (weights.count_nonzero(dim=1) == k).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50))
    assert weights.shape == answer.weights.shape == answer.load.shape == (50, EXPERTS)
    if not train:
        expected = top_k_softmax(logits.numpy(), k)
        np.testing.assert_allclose(weights.numpy(), expected, atol=1e-6)


def test_network_sees_what_the_dense_one_sees() -> None:
    sparse, dense, given = SparseGateNetwork(), GateNetwork(), make_observations(5)
    assert sparse.num_inputs == dense.num_inputs == GATE_OBSERVATION_SIZE
    assert torch.equal(sparse.features(given), dense.features(given))


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_network_of_any_depth_learns_in_every_parameter(depth: int) -> None:
    torch.manual_seed(0)
    network = SparseGateNetwork(width=16, depth=depth, k=2)
    answer = network.gate(make_observations(50), seeded())
    (answer.weights[:, 0].sum() + load_loss(answer.load)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@EVERY_K
def test_network_exports(tmp_path: Path, k: int) -> None:
    torch.manual_seed(0)
    network = SparseGateNetwork(width=32, k=k)
    path = tmp_path / "manipulation_network.onnx"
    export_onnx(network, path, make_observations(8), "observation", "weights")
    given = make_observations(100)
    with torch.no_grad():
        expected = network(given).numpy()
    answer = load_gate(tmp_path)(given.numpy())
    assert np.abs(answer - expected).max() < 1e-5
    assert (np.count_nonzero(answer, axis=1) == k).all()
    assert np.array_equal(answer > 0, expected > 0)
