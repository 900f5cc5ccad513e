"""AWAC against exact dynamic programming, and its parts by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, OneHotCategorical

from moe_robot_control.learning.awac import (
    DISTRIBUTIONS,
    AwacConfig,
    AwacLearner,
    StochasticPolicy,
    Transitions,
    advantage_weights,
    step_optimiser,
)

STATES, ACTIONS, GAMMA, TEMPERATURE = 4, 3, 0.8, 0.5


class TabularPolicy(nn.Module):
    """One categorical distribution a state; states are one-hot."""

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(probabilities.log())

    def forward(self, states: Tensor) -> Distribution:
        return OneHotCategorical(logits=states @ self.logits)


class TabularCritic(nn.Module):
    """One value a state and action."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(STATES, ACTIONS))

    def forward(self, x: Tensor) -> Tensor:
        state, action = x[:, :STATES], x[:, STATES:]
        return torch.einsum("bs,sa,ba->b", state, self.values, action)[:, None]


class Problem:
    """A deterministic Markov decision process, seen through a behaviour policy's data."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.following = rng.integers(STATES, size=(STATES, ACTIONS))
        self.rewards = 0.5 * rng.normal(size=(STATES, ACTIONS))
        self.ends = np.zeros((STATES, ACTIONS), dtype=bool)
        self.ends[0, 0] = True
        # how often each action was taken in each state
        self.counts = np.stack([rng.permutation([1, 2, 3]) for _ in range(STATES)])
        self.behaviour = self.counts / 6

    def values(self, policy: np.ndarray) -> np.ndarray:
        """Q of a policy by iterating Bellman's equation to its fixed point. Shape (S, A)."""
        q = np.zeros((STATES, ACTIONS))
        for _ in range(300):
            v = (policy * q).sum(axis=1)
            q = self.rewards + GAMMA * ~self.ends * v[self.following]
        return q

    def data(self) -> Transitions:
        pairs = [
            (s, a) for s in range(STATES) for a in range(ACTIONS) for _ in range(self.counts[s, a])
        ]
        state, action = torch.tensor(pairs).T
        return Transitions(
            states=torch.eye(STATES)[state],
            actions=torch.eye(ACTIONS)[action],
            rewards=torch.tensor(self.rewards)[state, action].float(),
            next_states=torch.eye(STATES)[torch.tensor(self.following)[state, action]],
            terminated=torch.tensor(self.ends)[state, action].float(),
            shown=torch.ones(len(state)),
            succeeded=torch.ones(len(state)),
        )


@pytest.fixture
def problem() -> Problem:
    return Problem()


def learner_of(problem: Problem, **changes: object) -> AwacLearner:
    settings = {
        "gamma": GAMMA, "tau": 0.05, "learning_rate": 0.02, "temperature": TEMPERATURE,
        "max_weight": 1e6, "value_samples": 64,
    }  # fmt: skip
    policy = TabularPolicy(torch.tensor(problem.behaviour).float())
    return AwacLearner(policy, TabularCritic, AwacConfig(**(settings | changes)))


def with_exact_critics(learner: AwacLearner, q: np.ndarray) -> None:
    with torch.no_grad():
        for critic in (*learner.critics, *learner.targets):
            critic.values.copy_(torch.tensor(q))


def test_critics_find_the_values_of_the_policy(problem: Problem) -> None:
    learner, data = learner_of(problem), problem.data()
    for step in range(1000):
        learner.critic_optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 1000)
        learner.critic_optimiser.zero_grad()
        learner.critic_loss(data).backward()
        learner.critic_optimiser.step()
        with torch.no_grad():
            for target, own in zip(learner.targets, learner.critics, strict=True):
                target.values.lerp_(own.values, 0.05)
    expected = problem.values(problem.behaviour)
    for critic in learner.critics:
        np.testing.assert_allclose(critic.values.detach(), expected, atol=0.04)


def test_advantages_and_weights_are_those_of_dynamic_programming(problem: Problem) -> None:
    learner, data = learner_of(problem, value_samples=20_000), problem.data()
    q = problem.values(problem.behaviour)
    with_exact_critics(learner, q)
    advantage = q - (problem.behaviour * q).sum(axis=1, keepdims=True)
    expected = (data.states @ torch.tensor(advantage).float() * data.actions).sum(1)
    found = learner.advantages(data)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    weights = advantage_weights(found, TEMPERATURE, "exponential", 1e6)
    torch.testing.assert_close(weights, (expected / TEMPERATURE).exp(), atol=0.03, rtol=0.06)


def test_the_actor_becomes_the_exactly_improved_policy(problem: Problem) -> None:
    """pi'(a|s) = pi_b(a|s) exp(A(s,a) / lambda) / Z(s), better than pi_b in every state."""
    learner, data = learner_of(problem), problem.data()
    q = problem.values(problem.behaviour)
    with_exact_critics(learner, q)
    optimiser = torch.optim.Adam(learner.policy.parameters(), 0.05)
    # A counts from a V that is the same for all actions of a state: it cancels in Z
    for step in range(1000):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 1000)
        optimiser.zero_grad()
        learner.actor_loss(data).backward()
        optimiser.step()
    expected = problem.behaviour * np.exp(q / TEMPERATURE)
    expected /= expected.sum(axis=1, keepdims=True)
    found = learner.policy(torch.eye(STATES)).probs.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)
    before = (problem.behaviour * q).sum(axis=1)
    improved = (found * problem.values(found)).sum(axis=1)
    assert (improved >= before - 1e-6).all() and (improved > before + 0.05).any()


def test_update_improves_on_the_data(problem: Problem) -> None:
    learner, data = learner_of(problem, value_samples=8), problem.data()
    for _ in range(1000):
        losses = learner.update(data)
    assert np.isfinite(list(losses.values())).all()
    policy = learner.policy(torch.eye(STATES)).probs.detach().numpy()

    def worth(of: np.ndarray) -> float:
        return float((of * problem.values(of)).sum(axis=1).mean())

    best = worth(np.eye(ACTIONS)[_optimal(problem)])
    assert worth(policy) > worth(problem.behaviour) + 0.5 * (best - worth(problem.behaviour))


def _optimal(problem: Problem) -> np.ndarray:
    q = np.zeros((STATES, ACTIONS))
    for _ in range(300):
        q = problem.rewards + GAMMA * ~problem.ends * q.max(axis=1)[problem.following]
    return q.argmax(axis=1)


def test_weights_by_hand() -> None:
    advantages = torch.tensor([0.0, 1.0, 100.0])
    found = advantage_weights(advantages, 2.0, "exponential", 20.0)
    torch.testing.assert_close(found, torch.tensor([1.0, np.exp(0.5), 20.0]).float())
    found = advantage_weights(torch.tensor([0.0, np.log(3.0)]).float(), 1.0, "softmax", 20.0)
    torch.testing.assert_close(found, torch.tensor([0.5, 1.5]))
    assert torch.isfinite(advantage_weights(advantages * 1e6, 1e-3, "exponential", 5.0)).all()
    with pytest.raises(ValueError, match="'linear'"):
        advantage_weights(advantages, 1.0, "linear", 1.0)


def test_the_actor_loss_by_hand() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.tensor(0.25))

        def forward(self, states: Tensor) -> Distribution:
            mean = self.mean.expand(len(states), 1)
            return Independent(Normal(mean, torch.full_like(mean, 0.5)), 1)

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1]

    one = torch.ones(2)
    shown = torch.tensor([1.0, 0.0])
    states = torch.tensor([[2.0], [5.0]])
    batch = Transitions(states, one[:, None], one, one[:, None], one, shown, 0.0 * one)
    # Q does not depend on the action: all advantages are 0 and all weights 1, or, for the one of a
    # demonstration, the least one
    expected = -Normal(0.25, 0.5).log_prob(torch.tensor(1.0))
    for least, weight in ((0.0, 1.0), (0.5, 1.0), (3.0, 2.0)):
        learner = AwacLearner(Fixed(), Critic, AwacConfig(min_weight=least))
        torch.testing.assert_close(learner.actor_loss(batch), weight * expected)
    # the second one is of an own episode that failed
    learner = AwacLearner(Fixed(), Critic, AwacConfig(imitate_own_failures=False))
    torch.testing.assert_close(learner.actor_loss(batch), 0.5 * expected)
    batch.succeeded[:] = 1.0
    torch.testing.assert_close(learner.actor_loss(batch), expected)


def test_what_no_return_can_be_is_not_learned() -> None:
    """Critics that promise 9 after a step, where returns lie between 0 and 1."""
    nine = nn.Linear(2, 1)
    nn.init.zeros_(nine.weight)
    nn.init.constant_(nine.bias, 9.0)
    policy = StochasticPolicy(nn.Linear(1, 2))
    zero, one = torch.zeros(3), torch.ones(3, 1)
    rewards, terminated = torch.tensor([0.0, 1.0, -20.0]), torch.tensor([0.0, 1.0, 0.0])
    batch = Transitions(one, one, rewards, one, terminated, zero, zero)
    config = AwacConfig(gamma=0.5, lowest_return=0.0, highest_return=1.0)
    learner = AwacLearner(policy, lambda: copy.deepcopy(nine), config)
    # y is 1, 1 and 0; without bounds it would be 4.5, 1 and -15.5
    expected = torch.tensor(2 * (8.0**2 + 8.0**2 + 9.0**2) / 3)
    torch.testing.assert_close(learner.critic_loss(batch), expected)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_spread_depends_on_the_state_and_stays_in_bounds(distribution: str) -> None:
    policy = StochasticPolicy(nn.Linear(2, 6), distribution)
    actions = policy(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1e4, -1e4]]))
    assert actions.mean.abs().max() <= 1.0
    spread = actions.base_dist.scale
    assert (spread[0] - spread[1]).abs().max() > 1e-3
    assert spread.min() >= np.exp(-4.0) - 1e-6 and spread.max() <= 1.0 + 1e-6
    assert actions.log_prob(torch.zeros(3, 3)).shape == (3,)


def test_an_unknown_distribution_is_named() -> None:
    with pytest.raises(ValueError, match="'heavy'"):
        StochasticPolicy(nn.Linear(2, 6), "heavy")


@pytest.mark.parametrize(("distribution", "expected"), [("gaussian", -0.2), ("laplace", -0.6)])
def test_it_imitates_the_mean_or_the_median(distribution: str, expected: float) -> None:
    """Three times one way, twice the other."""
    policy = StochasticPolicy(nn.Linear(1, 2), distribution)
    states, actions = torch.ones(5, 1), torch.tensor([-0.6, -0.6, -0.6, 0.4, 0.4])[:, None]
    optimiser = torch.optim.Adam(policy.parameters(), 0.01)
    for _ in range(1500):
        loss = -policy(states).log_prob(actions).mean()
        step_optimiser(optimiser, loss)
    assert policy.centre(states)[0].item() == pytest.approx(expected, abs=0.03)


def test_weight_decay_is_of_the_policy_alone(problem: Problem) -> None:
    plain, decayed = learner_of(problem), learner_of(problem, policy_weight_decay=0.5)
    before = plain.policy.logits.detach().clone()
    for learner in (plain, decayed):
        torch.manual_seed(0)
        learner.update(problem.data())
    torch.testing.assert_close(
        decayed.policy.logits, plain.policy.logits - 0.02 * 0.5 * before, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(decayed.critics[0].values, plain.critics[0].values)
