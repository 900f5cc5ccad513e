"""Advantages, the clipped loss, the two kinds of policies, and updates from rollouts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from moe_robot_control.learning.ppo import (
    MIN_LOG_STD,
    ActorCritic,
    CategoricalActorCritic,
    GaussianActorCritic,
    PpoConfig,
    PpoLearner,
    Rollout,
    clipped_surrogate_loss,
    gaussian_log_prob,
    generalised_advantages,
)

INPUTS = 3
CONFIG = PpoConfig(
    num_envs=4,
    rollout_steps=32,
    epochs=4,
    minibatch=32,
    learning_rate=0.01,
    value_learning_rate=0.01,
    gamma=0.9,
    gae_lambda=0.8,
    clip=0.2,
    value_weight=0.5,
    entropy_weight=0.0,
    max_gradient_norm=1.0,
    target_kl=math.inf,
    initial_std=0.3,
    exploration=0.1,
    warmup_rollouts=0,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """The smallest policy: a linear layer, with a softmax if it is to choose."""

    num_inputs = INPUTS

    def __init__(self, outputs: int, softmax: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, outputs)
        self._softmax = softmax

    def features(self, observations: Tensor) -> Tensor:
        return observations

    def logits(self, observations: Tensor) -> Tensor:
        return self.layer(observations)

    def forward(self, observations: Tensor) -> Tensor:
        output = self.layer(observations)
        return torch.softmax(output, dim=1) if self._softmax else output


def make_gaussian(num_actions: int = 2, initial_std: float = CONFIG.initial_std) -> ActorCritic:
    torch.manual_seed(0)
    policy = Linear(num_actions)
    return GaussianActorCritic(policy, policy, num_actions, initial_std)


def make_categorical(exploration: float = CONFIG.exploration) -> ActorCritic:
    torch.manual_seed(0)
    return CategoricalActorCritic(Linear(4, softmax=True), exploration)


BOTH_POLICIES = pytest.mark.parametrize("make_model", [make_gaussian, make_categorical])


def make_rollout(model: ActorCritic, steps: int = 32, num_envs: int = 4) -> Rollout:
    """Random rewards; episodes of ten steps, after each of which one step is a reset."""
    generator = seeded(1)
    observations = torch.randn(steps, num_envs, INPUTS, generator=generator)
    flat = observations.flatten(0, 1)
    with torch.no_grad():
        actions = model.sample(flat, generator)
        log_probs = model.log_prob(flat, actions)
    ended = torch.zeros(steps, num_envs, dtype=torch.bool)
    ended[9::11] = True
    valid = torch.ones_like(ended)
    valid[10::11] = False
    terminated = ended.clone()
    terminated[:, ::2] = False
    return Rollout(
        observations=observations,
        next_observations=torch.randn(steps, num_envs, INPUTS, generator=generator),
        actions=actions.unflatten(0, (steps, num_envs)),
        log_probs=log_probs.unflatten(0, (steps, num_envs)),
        rewards=torch.randn(steps, num_envs, generator=generator),
        terminated=terminated,
        ended=ended,
        valid=valid,
    )


def same_parameters(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def random_episodes(steps: int, num_envs: int, seed: int) -> tuple[Tensor, ...]:
    """Rewards, values, next values, terminated, ended, as if from a value function."""
    generator = seeded(seed)
    shape = (steps, num_envs)
    rewards = torch.randn(shape, generator=generator, dtype=torch.float64)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    next_values = torch.randn(shape, generator=generator, dtype=torch.float64)
    ended = torch.rand(shape, generator=generator) < 0.2
    terminated = ended & (torch.rand(shape, generator=generator) < 0.5)
    next_values[:-1] = torch.where(ended[:-1], next_values[:-1], values[1:])
    return rewards, values, next_values, terminated, ended


def test_advantages_by_hand() -> None:
    """One environment goes on; one ends by itself at the second step; one is cut off there."""
    rewards = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    values = torch.tensor([[2.0, 2.0, 2.0], [4.0, 4.0, 4.0], [6.0, 6.0, 6.0]])
    next_values = torch.tensor([[4.0, 4.0, 4.0], [6.0, 100.0, 10.0], [8.0, 8.0, 8.0]])
    terminated = torch.tensor([[False] * 3, [False, True, False], [False] * 3])
    ended = torch.tensor([[False] * 3, [False, True, True], [False] * 3])
    # errors: 1, 1, 2 where it goes on; 1, 2 - 4 = -2, 2; and 1, 2 + 5 - 4 = 3, 2
    expected = torch.tensor([[1.375, 0.5, 1.75], [1.5, -2.0, 3.0], [2.0, 2.0, 2.0]])
    found = generalised_advantages(rewards, values, next_values, terminated, ended, 0.5, 0.5)
    assert torch.equal(found, expected)


def test_lambda_zero_is_the_one_step_error() -> None:
    rewards, values, next_values, terminated, ended = random_episodes(20, 3, 0)
    found = generalised_advantages(rewards, values, next_values, terminated, ended, 0.9, 0.0)
    following = torch.where(terminated, 0.0, next_values)
    torch.testing.assert_close(found, rewards + 0.9 * following - values)


def test_lambda_one_is_the_return_without_the_value() -> None:
    rewards, values, next_values, terminated, ended = random_episodes(20, 3, 1)
    found = generalised_advantages(rewards, values, next_values, terminated, ended, 0.9, 1.0)
    for i in range(3):
        for t in range(20):
            total, discount = 0.0, 1.0
            for k in range(t, 20):
                total += discount * float(rewards[k, i])
                discount *= 0.9
                if ended[k, i] or k == 19:
                    total += 0.0 if terminated[k, i] else discount * float(next_values[k, i])
                    break
            assert float(found[t, i]) == pytest.approx(total - float(values[t, i]), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_advantages_as_the_sum_says(seed: int) -> None:
    rewards, values, next_values, terminated, ended = random_episodes(25, 4, seed)
    gamma, gae_lambda = 0.97, 0.9
    found = generalised_advantages(
        rewards, values, next_values, terminated, ended, gamma, gae_lambda
    )
    for i in range(4):
        for t in range(25):
            expected = 0.0
            for k in range(t, 25):
                after = 0.0 if terminated[k, i] else float(next_values[k, i])
                error = float(rewards[k, i]) + gamma * after - float(values[k, i])
                expected += (gamma * gae_lambda) ** (k - t) * error
                if ended[k, i]:
                    break
            assert float(found[t, i]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.5, 2.0, -2.4, 0.0),
        (1.5, -2.0, 3.0, 3.0),
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),
    ],
)
def test_corners_of_the_clipped_loss(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    """The slope is that of the loss over the log probability, -A q where it is not clipped."""
    old = torch.tensor([-0.7], dtype=torch.float64)
    log_probs = (old + math.log(ratio)).requires_grad_(True)
    found = clipped_surrogate_loss(log_probs, old, torch.tensor([advantage]).double(), 0.2)
    found.backward()
    assert float(found.detach()) == pytest.approx(loss)
    assert float(log_probs.grad) == pytest.approx(slope)


def test_clipped_loss_is_the_mean() -> None:
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5], dtype=torch.float64)
    advantages = torch.tensor([2.0, -2.0, 2.0, -2.0], dtype=torch.float64)
    found = clipped_surrogate_loss(ratios.log(), torch.zeros(4).double(), advantages, 0.2)
    assert float(found) == pytest.approx((-2.4 + 3.0 - 1.0 + 1.6) / 4)


@BOTH_POLICIES
def test_gradient_at_first_is_that_of_the_policy(make_model: Callable[[], ActorCritic]) -> None:
    """As long as nothing has moved it is -E[A grad log pi]."""
    model = make_model()
    x = torch.randn(50, INPUTS, generator=seeded(1))
    with torch.no_grad():
        actions = model.sample(x, seeded(2))
        old = model.log_prob(x, actions)
    advantages = torch.randn(50, generator=seeded(3))
    parameters = list(model.policy.parameters())
    log_probs = model.log_prob(x, actions)
    clipped = clipped_surrogate_loss(log_probs, old, advantages, 0.2)
    found = torch.autograd.grad(clipped, parameters)
    plain = -(advantages * model.log_prob(x, actions)).mean()
    for one, other in zip(found, torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0


def test_gaussian_density() -> None:
    actions = torch.randn(5, 6, 3, generator=seeded(0))
    mean = torch.randn(5, 6, 3, generator=seeded(1))
    log_std = torch.tensor([-1.0, 0.0, 0.5])
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(actions).sum(-1)
    torch.testing.assert_close(gaussian_log_prob(actions, mean, log_std), expected)


def test_gaussian_draws() -> None:
    model = make_gaussian(2, 0.3)
    x = torch.randn(1, INPUTS, generator=seeded(0)).repeat(20000, 1)
    with torch.no_grad():
        model.log_std[1] = math.log(0.1)
        actions = model.sample(x, seeded(1))
        expected = torch.distributions.Normal(model.policy(x), torch.tensor([0.3, 0.1]))
        torch.testing.assert_close(model.log_prob(x, actions), expected.log_prob(actions).sum(1))
        assert torch.equal(model.best(x), model.policy(x))
        assert torch.equal(actions, model.sample(x, seeded(1)))
    assert (actions.mean(0) - model.best(x)[0]).abs().max() < 0.01
    torch.testing.assert_close(actions.std(0), torch.tensor([0.3, 0.1]), rtol=0.03, atol=0.0)
    assert abs(float(torch.corrcoef(actions.T)[0, 1])) < 0.03


def test_gaussian_exploration_does_not_vanish() -> None:
    model = make_gaussian()
    with torch.no_grad():
        model.log_std.fill_(MIN_LOG_STD - 10.0)
        actions = model.sample(torch.zeros(5000, INPUTS), seeded())
    expected = torch.full((2,), math.exp(MIN_LOG_STD))
    torch.testing.assert_close(actions.std(0), expected, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("exploration", [0.0, 0.1, 1.0])
def test_draws_follow_the_odds(exploration: float) -> None:
    model = make_categorical(exploration)
    x = torch.randn(1, INPUTS, generator=seeded(0)).repeat(20000, 1)
    with torch.no_grad():
        weights = model.policy(x)
        drawn = model.sample(x, seeded(1))
        assert torch.equal(model.best(x), weights)
        odds = (1.0 - exploration) * weights[0] + exploration / 4
        assert (drawn.sum(1) == 1).all()
        assert ((drawn == 0) | (drawn == 1)).all()
        assert (drawn.mean(0) - odds).abs().max() < 0.015
        torch.testing.assert_close(model.log_prob(x, drawn), odds.log()[drawn.argmax(1)])
        expected = torch.distributions.Categorical(probs=odds).entropy()
        torch.testing.assert_close(model.entropy(x), expected)


def test_choices_of_no_weight_are_tried_too() -> None:
    model = make_categorical(0.2)
    x = torch.zeros(20000, INPUTS)
    with torch.no_grad():
        model.policy.layer.bias.copy_(torch.tensor([200.0, 0.0, 0.0, 0.0]))
        share = model.sample(x, seeded()).mean(0)
        expected = torch.tensor([0.85, 0.05, 0.05, 0.05])
        assert (share - expected).abs().max() < 0.01
        # without exploration they have a logarithm at least
        model = CategoricalActorCritic(model.policy, 0.0)
        assert torch.isfinite(model.log_prob(x[:4], torch.eye(4))).all()
        assert torch.isfinite(model.entropy(x[:4]))


def test_value_takes_any_leading_axes() -> None:
    model = make_gaussian()
    x = torch.randn(5, 7, INPUTS, generator=seeded())
    with torch.no_grad():
        values = model.value(x)
        assert values.shape == (5, 7)
        torch.testing.assert_close(values[2], model.value(x[2]))


@BOTH_POLICIES
def test_warming_up_leaves_the_policy(make_model: Callable[[], ActorCritic]) -> None:
    model = make_model()
    before = copy.deepcopy(model)

    def unwanted() -> Tensor:
        raise AssertionError("a policy that is left alone has no extra loss")

    means = PpoLearner(model, CONFIG).update(make_rollout(model), seeded(), unwanted, True)
    assert same_parameters(model.policy, before.policy)
    names = [name for name in model.state_dict() if not name.startswith("critic.")]
    for name in names:
        assert torch.equal(model.state_dict()[name], before.state_dict()[name])
    assert not same_parameters(model.critic, before.critic)
    assert means.keys() == {"value_loss"}


@BOTH_POLICIES
def test_an_update_moves_policy_and_critic(make_model: Callable[[], ActorCritic]) -> None:
    model = make_model()
    before = copy.deepcopy(model)
    means = PpoLearner(model, CONFIG).update(make_rollout(model), seeded())
    assert not same_parameters(model.policy, before.policy)
    assert not same_parameters(model.critic, before.critic)
    assert means.keys() == {"value_loss", "policy_loss", "entropy", "kl"}
    assert all(math.isfinite(value) for value in means.values())


@BOTH_POLICIES
def test_resets_do_not_count(make_model: Callable[[], ActorCritic]) -> None:
    """Whatever is written where an environment was being reset changes nothing."""
    rollout = make_rollout(make_model())
    other = copy.deepcopy(rollout)
    resets = ~other.valid
    assert resets.any()
    other.rewards[resets] = 1e6
    other.actions[resets] = 0.5
    other.log_probs[resets] = -3.0
    other.observations[resets] += 10.0
    other.next_observations[resets] -= 10.0
    models = []
    for each in (rollout, other):
        model = make_model()
        PpoLearner(model, CONFIG).update(each, seeded())
        models.append(model)
    assert same_parameters(*models)
    # elsewhere it does count
    other.rewards[~resets] += torch.arange(float((~resets).sum()))
    model = make_model()
    PpoLearner(model, CONFIG).update(other, seeded())
    assert not same_parameters(model, models[0])


@BOTH_POLICIES
def test_same_seed_same_update(make_model: Callable[[], ActorCritic]) -> None:
    models = []
    for seed in (3, 3, 4):
        model = make_model()
        PpoLearner(model, CONFIG).update(make_rollout(model), seeded(seed))
        models.append(model)
    assert same_parameters(models[0], models[1])
    assert not same_parameters(models[0], models[2])


def test_extra_loss_is_added() -> None:
    """One that is large and pulls the policy to zero wins."""
    model = make_gaussian()
    learner = PpoLearner(model, replace(CONFIG, epochs=60))

    def pull() -> Tensor:
        return 1000.0 * sum(p.square().sum() for p in model.policy.parameters())

    means = learner.update(make_rollout(model), seeded(), pull)
    assert means["bc_loss"] > 0.0
    assert float(pull().detach()) < 1.0


def one_step_rollout(
    model: ActorCritic, reward: Callable[[Tensor], Tensor], seed: int, steps: int = 256
) -> Rollout:
    """Episodes of one step in the same state."""
    x = torch.ones(steps, 1, INPUTS)
    with torch.no_grad():
        actions = model.sample(x[:, 0], seeded(seed))
        log_probs = model.log_prob(x[:, 0], actions)
    always = torch.ones(steps, 1, dtype=torch.bool)
    rewards = reward(actions)[:, None]
    return Rollout(x, x, actions[:, None], log_probs[:, None], rewards, always, always, always)


def test_gaussian_finds_the_best_action() -> None:
    model = make_gaussian(2)
    target = torch.tensor([0.8, -0.6])
    learner = PpoLearner(model, replace(CONFIG, minibatch=128, learning_rate=0.02))
    for seed in range(40):
        rollout = one_step_rollout(model, lambda a: -(a - target).square().sum(1), seed)
        learner.update(rollout, seeded(seed))
    with torch.no_grad():
        found = model.best(torch.ones(1, INPUTS))[0]
    assert (found - target).abs().max() < 0.1
    assert (model.log_std < math.log(CONFIG.initial_std)).all()


def test_categorical_finds_the_best_choice() -> None:
    model = make_categorical()
    payoff = torch.tensor([0.2, 0.5, 1.0, 0.4])
    learner = PpoLearner(model, replace(CONFIG, minibatch=128, learning_rate=0.02))
    for seed in range(40):
        rollout = one_step_rollout(model, lambda a: a @ payoff, seed)
        learner.update(rollout, seeded(seed))
    with torch.no_grad():
        weights = model.best(torch.ones(1, INPUTS))[0]
    assert int(weights.argmax()) == 2
    assert float(weights[2]) > 0.85


def test_critic_learns_the_value() -> None:
    """Of one-step episodes it is the mean reward."""
    model = make_gaussian()
    learner = PpoLearner(model, CONFIG)
    for seed in range(20):
        rollout = one_step_rollout(model, lambda a: torch.full((len(a),), 3.0), seed)
        learner.update(rollout, seeded(seed), critic_only=True)
    with torch.no_grad():
        assert float(model.value(torch.ones(1, INPUTS))) == pytest.approx(3.0, abs=0.1)
