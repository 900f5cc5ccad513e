"""Densities and divergences against draws and against torch's own distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from moe_robot_control.learning.action_distributions import (
    Coarse,
    Gaussian,
    cross_entropy,
    divergence,
    mixture_log_prob,
    transfer,
)
from moe_robot_control.learning.agents import NUM_MOVES, coarse_moves
from moe_robot_control.policies.spaces import DECISION_PERIOD, MAX_SPEED

DRAWS = 200_000


def gaussian(seed: int) -> Gaussian:
    draw = torch.Generator().manual_seed(seed)
    mean = torch.rand(4, generator=draw, dtype=torch.float64) - 0.5
    return Gaussian(mean, 0.5 * torch.randn(4, generator=draw, dtype=torch.float64) - 1.0)


def coarse(seed: int) -> Coarse:
    draw = torch.Generator().manual_seed(seed)
    centres = coarse_moves(torch.rand(12, generator=draw, dtype=torch.float64))
    return Coarse(torch.randn(NUM_MOVES, generator=draw, dtype=torch.float64), centres, 0.1)


def drawn(distribution: Gaussian | Coarse, count: int = DRAWS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    if isinstance(distribution, Gaussian):
        many = Gaussian(distribution.mean.expand(count, -1), distribution.log_std)
    else:
        many = Coarse(distribution.logits.expand(count, -1), distribution.centres, distribution.std)
    return many.sample(generator)


def test_a_gaussian_is_torchs() -> None:
    one = gaussian(0)
    reference = Independent(Normal(one.mean, one.log_std.exp()), 1)
    actions = drawn(one, 50)
    torch.testing.assert_close(one.log_prob(actions), reference.log_prob(actions))
    torch.testing.assert_close(one.exploration(), reference.entropy())


def test_a_coarse_choice_is_torchs_mixture() -> None:
    one = coarse(0)
    centres = Independent(Normal(one.centres, torch.full_like(one.centres, one.std)), 1)
    reference = MixtureSameFamily(Categorical(logits=one.logits), centres)
    actions = drawn(one, 50)
    torch.testing.assert_close(one.log_prob(actions), reference.log_prob(actions))
    torch.testing.assert_close(one.moments()[0], reference.mean)
    torch.testing.assert_close(one.moments()[1], reference.variance)
    torch.testing.assert_close(one.exploration(), Categorical(logits=one.logits).entropy())


@pytest.mark.parametrize("make", [gaussian, coarse])
def test_draws_have_the_moments(make) -> None:
    one = make(1)
    actions = drawn(one)
    mean, variance = one.moments()
    torch.testing.assert_close(actions.mean(0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(actions.var(0), variance, atol=0.01, rtol=0)


def test_choices_may_differ_from_place_to_place() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(3, 12, generator=draw)
    logits = torch.randn(3, NUM_MOVES, generator=draw)
    every = Coarse(logits, coarse_moves(x), 0.1)
    each = [Coarse(logits[i], coarse_moves(x[i]), 0.1) for i in range(3)]
    actions = every.sample(draw)
    of_every = [every.log_prob(actions), every.best(), *every.moments()]
    of_each = [
        [one.log_prob(action), one.best(), *one.moments()]
        for one, action in zip(each, actions, strict=True)
    ]
    for together, apart in zip(of_every, zip(*of_each, strict=True), strict=True):
        torch.testing.assert_close(together, torch.stack(apart))


def test_coarse_moves_go_along_axes_and_to_objects() -> None:
    x = torch.zeros(12)
    x[:3] = torch.tensor([0.4, 0.0, 0.3])
    x[4:8] = torch.tensor([0.4, 0.3, -0.1, 1.0])  # far: 0.3 to the left, 0.4 below
    x[8:12] = torch.tensor([0.4, -0.005, 0.3, 1.0])  # nearer than one decision goes
    opened, closed = coarse_moves(x).unflatten(0, (2, -1))
    assert (opened[:, 3] == 1).all() and (closed[:, 3] == -1).all()
    torch.testing.assert_close(opened[:, :3], closed[:, :3])
    stay, axes, goals = opened[0, :3], opened[1:7, :3], opened[7:, :3]
    assert not stay.any() and sorted(axes.abs().sum(1).tolist()) == [1.0] * 6
    torch.testing.assert_close(goals[0], torch.tensor([0.0, 0.6, -0.8]))
    torch.testing.assert_close(goals[2], torch.tensor([0.0, 1.0, 0.0]))
    reach = MAX_SPEED * DECISION_PERIOD
    torch.testing.assert_close(goals[1] * reach, torch.tensor([0.0, -0.005, 0.0]))
    x[7] = 0.0
    assert not coarse_moves(x)[7, :3].any()


def test_divergence_is_torchs_and_that_of_draws() -> None:
    first, second = gaussian(1), gaussian(2)
    normals = [Independent(Normal(g.mean, g.log_std.exp()), 1) for g in (first, second)]
    torch.testing.assert_close(divergence(first, second), kl_divergence(*normals))
    actions = drawn(first)
    estimate = (first.log_prob(actions) - second.log_prob(actions)).mean()
    assert float(estimate) == pytest.approx(float(divergence(first, second)), rel=0.02)
    assert float(divergence(first, first)) == pytest.approx(0.0, abs=1e-12)


def test_divergence_of_a_coarse_teacher_against_draws() -> None:
    """KL(coarse || student) less the teacher's entropy, both estimated."""
    teacher, student = coarse(1), gaussian(2)
    actions = drawn(teacher)
    estimate = -student.log_prob(actions).mean()
    assert float(estimate) == pytest.approx(float(cross_entropy(teacher, student)), rel=0.02)
    entropy = -teacher.log_prob(actions).mean()
    kl = (teacher.log_prob(actions) - student.log_prob(actions)).mean()
    assert float(transfer(teacher, student) - entropy) == pytest.approx(float(kl), rel=0.02)


def test_a_mixtures_density_is_that_of_its_draws() -> None:
    """The share of draws in a box is the density's integral over it."""
    first = Gaussian(torch.tensor([-0.4]).double(), torch.tensor([math.log(0.3)]).double())
    second = Coarse(torch.tensor([0.3, 0.0]).double(), torch.tensor([[0.5], [-1.0]]).double(), 0.1)
    weights = [0.3, 0.7]
    generator = torch.Generator().manual_seed(0)
    from_first = torch.rand(DRAWS, generator=generator) < weights[0]
    actions = torch.where(from_first[:, None], drawn(first), drawn(second))
    low, high = 0.35, 0.8
    share = ((actions > low) & (actions < high)).double().mean()
    grid = torch.linspace(low, high, 2001, dtype=torch.float64)[:, None]
    log_prob = mixture_log_prob([first.log_prob(grid), second.log_prob(grid)], weights)
    integral = torch.trapezoid(log_prob.exp(), grid[:, 0])
    assert float(share) == pytest.approx(float(integral), abs=0.004)
    everywhere = torch.linspace(-4, 4, 20001, dtype=torch.float64)[:, None]
    whole = mixture_log_prob([first.log_prob(everywhere), second.log_prob(everywhere)], weights)
    assert float(torch.trapezoid(whole.exp(), everywhere[:, 0])) == pytest.approx(1.0, abs=1e-6)


def test_components_without_weight_have_no_part() -> None:
    parts = [torch.randn(5, requires_grad=True) for _ in range(3)]
    result = mixture_log_prob(parts, [0.0, 1.0, 0.0])
    assert result is parts[1]
    mixture_log_prob(parts, [0.5, 0.5, 0.0]).sum().backward()
    assert parts[2].grad is None
    # responsibilities: each component's share of the density
    share = torch.softmax(torch.stack([parts[0], parts[1]]).detach(), dim=0)
    torch.testing.assert_close(parts[0].grad, share[0])
