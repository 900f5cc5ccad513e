"""The imitation reward, the discriminator's loss and gradients, and what it learns."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from moe_robot_control.learning.gail import (
    MAX_REWARD,
    Discriminator,
    GailConfig,
    discriminator_loss,
    imitation_reward,
)

CONFIG = GailConfig(
    state_only=True, width=32, learning_rate=0.003, updates=300, batch=256, gradient_penalty=0.0
)
SEVERAL_KINDS = pytest.mark.parametrize("state_only", [True, False])


class Square(nn.Module):
    """Instead of a discriminator's layers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_discriminator(inputs: int = 1, actions: int = 1, **settings: object) -> Discriminator:
    torch.manual_seed(0)
    config = GailConfig(**{**vars(CONFIG), **settings})
    return Discriminator(lambda x: x, inputs, actions, config)


def normal(mean: float, seed: int, count: int = 20000) -> tuple[Tensor, Tensor]:
    """Observations of unit variance, and actions that say nothing."""
    generator = seeded(seed)
    return mean + torch.randn(count, 1, generator=generator), torch.zeros(count, 1)


def test_reward_by_its_definition() -> None:
    logits = torch.linspace(-8.0, 4.5, 60, dtype=torch.float64)
    share = 1.0 / (1.0 + torch.exp(-logits))
    torch.testing.assert_close(imitation_reward(logits), -torch.log(1.0 - share))


def test_reward_has_a_cap() -> None:
    logits = torch.tensor([MAX_REWARD, 10.0, 1000.0])
    assert torch.equal(imitation_reward(logits), torch.full((3,), MAX_REWARD))
    assert float(imitation_reward(torch.tensor(MAX_REWARD - 0.5))) < MAX_REWARD


def test_reward_is_never_negative() -> None:
    logits = torch.tensor([-1000.0, -100.0, -20.0, -1.0, 0.0])
    assert (imitation_reward(logits) >= 0.0).all()
    discriminator = make_discriminator(3, 2, state_only=False)
    x = 100.0 * torch.randn(500, 3, generator=seeded())
    rewards = discriminator.reward(x, torch.randn(500, 2, generator=seeded(1)))
    assert rewards.shape == (500,)
    assert (rewards >= 0.0).all()
    assert not rewards.requires_grad


def test_loss_is_cross_entropy() -> None:
    demonstrated = 3.0 * torch.randn(40, generator=seeded(0), dtype=torch.float64)
    visited = 3.0 * torch.randn(30, generator=seeded(1), dtype=torch.float64)
    entropy = nn.functional.binary_cross_entropy_with_logits
    expected = entropy(demonstrated, torch.ones_like(demonstrated))
    expected = expected + entropy(visited, torch.zeros_like(visited))
    torch.testing.assert_close(discriminator_loss(demonstrated, visited), expected)


def test_loss_stays_finite() -> None:
    loss = discriminator_loss(torch.tensor([-500.0]), torch.tensor([500.0]))
    assert float(loss) == pytest.approx(1000.0)


def test_gradient_over_the_logits() -> None:
    """D - 1 where demonstrated, D where visited, over the number of samples."""
    demonstrated = torch.randn(40, generator=seeded(0), dtype=torch.float64, requires_grad=True)
    visited = torch.randn(30, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    discriminator_loss(demonstrated, visited).backward()
    torch.testing.assert_close(demonstrated.grad, (torch.sigmoid(demonstrated) - 1.0) / 40)
    torch.testing.assert_close(visited.grad, torch.sigmoid(visited) / 30)


@SEVERAL_KINDS
def test_gradient_over_parameters_and_inputs(state_only: bool) -> None:
    discriminator = make_discriminator(3, 2, state_only=state_only, width=5).double()
    names = [name for name, _ in discriminator.named_parameters()]
    actions = torch.randn(2, 6, 2, generator=seeded(2), dtype=torch.float64)

    def loss(real: Tensor, fake: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        logits = [
            torch.func.functional_call(discriminator, parameters, pair)
            for pair in ((real, actions[0]), (fake, actions[1]))
        ]
        return discriminator_loss(*logits)

    real = torch.randn(6, 3, generator=seeded(0), dtype=torch.float64, requires_grad=True)
    fake = torch.randn(6, 3, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (real, fake, *discriminator.parameters()))


def test_gradient_penalty_of_a_linear_layer() -> None:
    """Its gradient is its weights, wherever it is taken."""
    discriminator = make_discriminator(2)
    discriminator.layers = nn.Linear(2, 1)
    with torch.no_grad():
        discriminator.layers.weight.copy_(torch.tensor([[3.0, -4.0]]))
    real = torch.randn(10, 2, generator=seeded(0))
    fake = torch.randn(10, 2, generator=seeded(1))
    penalty = discriminator._gradient_penalty(real, fake, seeded(2))
    assert float(penalty.detach()) == pytest.approx(25.0)
    penalty.backward()
    expected = torch.tensor([[6.0, -8.0]])
    torch.testing.assert_close(discriminator.layers.weight.grad, expected)


def test_gradient_penalty_is_taken_between_the_two() -> None:
    """Of a square the squared gradient is 4 x^2: 4/3 on average between 0 and 1."""
    discriminator = make_discriminator()
    discriminator.layers = Square()
    real, fake = torch.ones(20000, 1), torch.zeros(20000, 1)
    penalty = discriminator._gradient_penalty(real, fake, seeded())
    assert float(penalty.detach()) == pytest.approx(4.0 / 3.0, rel=0.03)


def test_two_gaussians_are_told_apart_as_well_as_can_be() -> None:
    """The best answer is p / (p + q), which is 1 / (1 + exp(-2x)) for means of 1 and -1."""
    discriminator = make_discriminator()
    metrics = discriminator.update(normal(1.0, 0), normal(-1.0, 1), seeded(2))
    points = torch.tensor([[-1.5], [-1.0], [-0.5], [0.0], [0.5], [1.0], [1.5]])
    with torch.no_grad():
        found = torch.sigmoid(discriminator(points, torch.zeros(7, 1)))
    p = torch.exp(-0.5 * (points[:, 0] - 1.0).square())
    q = torch.exp(-0.5 * (points[:, 0] + 1.0).square())
    assert (found - p / (p + q)).abs().max() < 0.08
    assert metrics["demonstrated"] > 0.7 > 0.3 > metrics["visited"]


def test_the_same_cannot_be_told_apart() -> None:
    discriminator = make_discriminator()
    discriminator.update(normal(0.0, 0), normal(0.0, 1), seeded(2))
    points = torch.tensor([[-1.0], [0.0], [1.0]])
    with torch.no_grad():
        found = torch.sigmoid(discriminator(points, torch.zeros(3, 1)))
    assert (found - 0.5).abs().max() < 0.1


@SEVERAL_KINDS
def test_only_states_or_actions_too(state_only: bool) -> None:
    discriminator = make_discriminator(3, 2, state_only=state_only)
    x = torch.randn(20, 3, generator=seeded(0))
    first, second = torch.randn(2, 20, 2, generator=seeded(1))
    assert discriminator.inputs(x, first).shape == (20, 3 if state_only else 5)
    with torch.no_grad():
        same = torch.equal(discriminator(x, first), discriminator(x, second))
    assert same == state_only


@SEVERAL_KINDS
def test_actions_are_told_apart(state_only: bool) -> None:
    """Nothing but the actions differs."""
    discriminator = make_discriminator(state_only=state_only)
    x = torch.zeros(500, 1)
    metrics = discriminator.update((x, x + 1.0), (x, x - 1.0), seeded())
    certain = metrics["demonstrated"] > 0.8 and metrics["visited"] < 0.2
    assert certain == (not state_only)


def test_features_are_what_is_seen() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(lambda x: x[:, :1] ** 2, 3, 2, CONFIG)
    x = torch.randn(5, 3, generator=seeded())
    mirrored = x * torch.tensor([-1.0, 2.0, 3.0])
    with torch.no_grad():
        assert torch.equal(
            discriminator(x, torch.zeros(5, 2)), discriminator(mirrored, torch.ones(5, 2))
        )


def test_penalty_makes_it_flatter() -> None:
    def steepness(gradient_penalty: float) -> float:
        discriminator = make_discriminator(gradient_penalty=gradient_penalty)
        discriminator.update(normal(1.0, 0), normal(-1.0, 1), seeded(2))
        points = torch.linspace(-1.0, 1.0, 21)[:, None].requires_grad_(True)
        discriminator(points, torch.zeros(21, 1)).sum().backward()
        return float(points.grad.square().mean())

    free, held = steepness(0.0), steepness(5.0)
    assert held < 0.25 * free


def test_same_seed_same_discriminator() -> None:
    found = []
    for seed in (3, 3, 4):
        discriminator = make_discriminator(updates=5, gradient_penalty=1.0)
        before = copy.deepcopy(discriminator.state_dict())
        discriminator.update(normal(1.0, 0), normal(-1.0, 1), seeded(seed))
        found.append(torch.cat([p.detach().flatten() for p in discriminator.parameters()]))
        assert not torch.equal(found[-1], torch.cat([p.flatten() for p in before.values()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
