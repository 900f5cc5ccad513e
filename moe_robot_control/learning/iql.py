"""Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169): a rival of AWAC.

It never asks the critics about actions that were not recorded: a value network takes the place of
the policy's own value,

    V: min E[L(min_i Q'_i(s, a) - V(s))],  L(u) = |e - 1(u < 0)| u^2        (eq. 5)
    Q: min E[(r + gamma V(s') - Q_i(s, a))^2]                               (eq. 6)

and the actor imitates by exp((Q - V) / lambda) as AWAC's does (eq. 7). It shares that one's
networks, buffer and settings; libraries that have it bring other versions of gymnasium along.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from moe_robot_control.learning.awac import AwacConfig, AwacLearner, Transitions, lowest

EXPECTILE = 0.8
"""e: 0.5 gives the mean, 1 the maximum over recorded actions."""


def expectile_loss(differences: Tensor, expectile: float) -> Tensor:
    """Mean of |e - 1(u < 0)| u^2. (b) -> a scalar."""
    weights = torch.where(differences < 0.0, 1.0 - expectile, expectile)
    return (weights * differences.square()).mean()


class IqlLearner(AwacLearner):
    """A policy, two critics and their targets, and a value network."""

    def __init__(
        self, policy: nn.Module, make_critic: Callable[..., nn.Module], config: AwacConfig
    ) -> None:
        """Build the critics.

        Args:
            policy, config: as of `AwacLearner`.
            make_critic: as of `AwacLearner`; given 0, it makes a network of states alone.
        """
        super().__init__(policy, make_critic, config)
        self.value = make_critic(0)
        self.critic_optimiser.add_param_group({"params": self.value.parameters()})

    def critic_loss(self, batch: Transitions) -> Tensor:
        """Errors of both critics and of the value network."""
        with torch.no_grad():
            shown = lowest(self.targets, batch.states, batch.actions)
            goal = self._bootstrapped(batch, self.value(batch.next_states)[:, 0])
        value_loss = expectile_loss(shown - self.value(batch.states)[:, 0], EXPECTILE)
        inputs = torch.cat([batch.states, batch.actions], dim=1)
        errors = [(critic(inputs)[:, 0] - goal).square().mean() for critic in self.critics]
        return value_loss + sum(errors)

    @torch.no_grad()
    def advantages(self, batch: Transitions) -> Tensor:
        """Q - V of recorded actions. Shape (b)."""
        own = lowest(self.targets, batch.states, batch.actions)
        return own - self.value(batch.states)[:, 0]
