"""Implicit Q-learning against known answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from moe_robot_control.learning.awac import AwacConfig, StochasticPolicy, Transitions
from moe_robot_control.learning.iql import IqlLearner, expectile_loss


@pytest.mark.parametrize(("expectile", "expected"), [(0.5, 0.5), (0.8, 0.8)])
def test_of_zero_and_one_the_expectile_is_itself(expectile: float, expected: float) -> None:
    """Minimises e (1 - v)^2 + (1 - e) v^2: v = e."""
    value = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.SGD([value], 0.5)
    for _ in range(200):
        optimiser.zero_grad()
        expectile_loss(torch.tensor([0.0, 1.0]) - value, expectile).backward()
        optimiser.step()
    assert value.item() == pytest.approx(expected, abs=1e-3)


def test_it_imitates_the_better_of_two_recorded_actions() -> None:
    """A bandit: +0.8 pays 1, -0.8 nothing. Q are the rewards, V their expectile: 0.8."""
    torch.manual_seed(0)

    def make_critic(more: int = 1) -> nn.Module:
        return nn.Sequential(nn.Linear(1 + more, 32), nn.SiLU(), nn.Linear(32, 1))

    policy = StochasticPolicy(nn.Linear(1, 2))
    config = AwacConfig(temperature=0.1, learning_rate=1e-2, tau=0.05)
    learner = IqlLearner(policy, make_critic, config)
    up = torch.arange(64) % 2 * 2.0 - 1.0
    states = torch.ones(64, 1)
    data = Transitions(states, 0.8 * up[:, None], (up > 0).float(), states, *torch.ones(3, 64))
    for _ in range(600):
        learner.update(data)
    advantages = learner.advantages(data)
    torch.testing.assert_close(advantages[1::2], torch.full((32,), 0.2), atol=0.05, rtol=0.0)
    torch.testing.assert_close(advantages[::2], torch.full((32,), -0.8), atol=0.05, rtol=0.0)
    with torch.no_grad():
        mean = learner.policy.centre(states[:1])
    torch.testing.assert_close(mean, torch.tensor([[0.8]]), atol=0.05, rtol=0.0)
