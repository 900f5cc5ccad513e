"""Losses of multi-task SAC against hand-computed cases, its replay, and a problem it solves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from moe_robot_control.learning.multitask_networks import MultiTaskNetwork
from moe_robot_control.learning.sac import (
    Batch,
    Replay,
    SacConfig,
    SacLearner,
    SquashedGaussian,
    task_weights,
)

STATES, ACTIONS, TASKS = 3, 2, 2


def make_learner(**options: object) -> SacLearner:
    def make(inputs: int, outputs: int) -> nn.Module:
        return MultiTaskNetwork(inputs, TASKS, outputs, 32, 2)

    return SacLearner(STATES, ACTIONS, TASKS, make, SacConfig(**options))


def make_batch(count: int = 5) -> Batch:
    n = TASKS * count
    return Batch(
        torch.randn(n, STATES),
        torch.rand(n, ACTIONS) * 2 - 1,
        torch.randn(n),
        torch.randn(n, STATES),
        (torch.rand(n) < 0.5).float(),
        torch.eye(TASKS).repeat_interleave(count, dim=0),
    )


def test_log_density_of_squashed_actions() -> None:
    parameters = torch.randn(200, 2 * ACTIONS)
    policy = SquashedGaussian(parameters)
    assert (policy.log_std >= -5.0).all() and (policy.log_std <= 2.0).all()
    actions, log_probs = policy.sample()
    inside = actions.abs().amax(1) < 0.999
    reference = TransformedDistribution(
        Normal(policy.mean, policy.log_std.exp()), [TanhTransform(cache_size=0)]
    )
    expected = reference.log_prob(actions).sum(1)
    torch.testing.assert_close(log_probs[inside], expected[inside], atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(policy.best, torch.tanh(parameters[:, :ACTIONS]))


def test_log_density_stays_finite() -> None:
    actions, log_probs = SquashedGaussian(torch.full((4, 2), 30.0)).sample()
    assert torch.isfinite(log_probs).all() and (actions.abs() <= 1).all()


def test_weights_of_tasks() -> None:
    log_alpha = torch.tensor([math.log(0.1), math.log(0.5), math.log(0.9)])
    np.testing.assert_array_equal(task_weights(log_alpha, False), np.ones(3))
    weights = task_weights(log_alpha, True)
    shares = np.exp([-0.1, -0.5, -0.9])
    np.testing.assert_allclose(weights, 3 * shares / shares.sum(), rtol=1e-5)


class Constant(nn.Module):
    """Answers with given numbers, whatever the state."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, state: Tensor, task: Tensor) -> Tensor:
        return self.values.expand(len(state), -1)


@pytest.mark.parametrize("balanced", [False, True])
def test_losses_by_hand(balanced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner(gamma=0.9, balanced=balanced)
    learner.critics = nn.ModuleList([Constant(1.0), Constant(2.0)])
    learner.targets = nn.ModuleList([Constant(5.0), Constant(3.0)])
    with torch.no_grad():
        learner.log_alpha.copy_(torch.tensor([math.log(0.1), math.log(0.4)]))
    monkeypatch.setattr(
        SquashedGaussian, "sample", lambda self: (self.best, torch.full((len(self.mean),), -1.5))
    )
    batch = make_batch(1)
    batch.rewards, batch.terminated = torch.tensor([0.2, 1.0]), torch.tensor([0.0, 1.0])
    w = [2 / (1 + math.exp(-0.3)), 2 / (1 + math.exp(0.3))] if balanced else [1.0, 1.0]
    first = 0.2 + 0.9 * (3.0 + 0.1 * 1.5)
    wanted = w[0] * ((1 - first) ** 2 + (2 - first) ** 2) + w[1] * ((1 - 1.0) ** 2 + (2 - 1) ** 2)
    assert learner.critic_loss(batch).item() == pytest.approx(wanted / 2, rel=1e-5)
    loss, log_probs = learner.actor_loss(batch)
    wanted = w[0] * (-0.1 * 1.5 - 1.0) + w[1] * (-0.4 * 1.5 - 1.0)
    assert loss.item() == pytest.approx(wanted / 2, rel=1e-5)
    wanted = -(math.log(0.1) + math.log(0.4)) * (-1.5 - 2.0) / 2
    assert learner.temperature_loss(log_probs, batch.tasks).item() == pytest.approx(wanted)


def test_temperature_rises_where_the_policy_is_too_certain() -> None:
    learner = make_learner(temperature_learning_rate=0.1)
    before = learner.log_alpha.detach().clone()
    certain, loose = torch.full((3,), 5.0), torch.full((3,), -5.0)
    tasks = torch.eye(TASKS).repeat_interleave(3, dim=0)
    learner.temperature_loss(torch.cat([certain, loose]), tasks).backward()
    learner.alpha_optimiser.step()
    change = learner.log_alpha.detach() - before
    assert change[0] > 0 > change[1]


def test_an_update_moves_only_what_it_should() -> None:
    learner = make_learner(tau=0.25)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    losses = learner.update(make_batch())
    after = learner.state_dict()
    assert all(math.isfinite(value) for value in losses.values())
    for name, value in after.items():
        if name.startswith("targets"):
            own = name.replace("targets", "critics")
            torch.testing.assert_close(value, before[name].lerp(after[own], 0.25))
        else:
            assert not torch.equal(value, before[name]), name
    assert all(p.requires_grad for p in learner.critics.parameters())
    assert not any(p.requires_grad for p in learner.targets.parameters())


def test_replay_keeps_the_last_transitions_of_each_task() -> None:
    replay, rng = Replay(2, 10, 1, 1), np.random.default_rng(0)
    for task, count in ((0, 25), (1, 4)):
        for value in range(count):
            row = np.full((1, 1), value, dtype=float)
            replay.add(task, row, row, row[:, 0], row + 1, row[:, 0] > 20)
    assert len(replay) == 4
    batch = replay.sample(300, rng)
    seen = batch.states[:, 0].reshape(2, 300)
    assert set(seen[0].tolist()) == set(range(15, 25)) and set(seen[1].tolist()) == set(range(4))
    torch.testing.assert_close(batch.next_states, batch.states + 1)
    torch.testing.assert_close(batch.terminated, (batch.states[:, 0] > 20).float())
    assert batch.tasks.argmax(1).tolist() == [0] * 300 + [1] * 300
    other = Replay(2, 10, 1, 1)
    other.restore(replay.state())
    first = other.sample(50, np.random.default_rng(1))
    second = replay.sample(50, np.random.default_rng(1))
    torch.testing.assert_close(first.states, second.states)


def test_two_tasks_that_want_opposite_actions() -> None:
    """One step to the end; the reward is highest at action +0.5 in one task, -0.5 in the other."""
    learner = make_learner(learning_rate=3e-3, temperature_learning_rate=3e-3)
    goal = torch.tensor([0.5, -0.5])
    for _ in range(400):
        batch = make_batch(32)
        batch.terminated = torch.ones(64)
        wanted = (batch.tasks @ goal)[:, None]
        batch.rewards = -4.0 * (batch.actions - wanted).square().sum(1)
        learner.update(batch)
    best = learner.act(torch.zeros(TASKS, STATES), torch.eye(TASKS), best=True)
    torch.testing.assert_close(best, goal[:, None].expand(-1, ACTIONS), atol=0.15, rtol=0.0)


def test_demonstrations_are_cloned_where_the_reward_is_silent() -> None:
    learner = make_learner(learning_rate=3e-3, cloning=1.0, initial_temperature=0.01)
    wanted = torch.tensor([0.5, -0.5])
    shown = make_batch(32)
    shown.actions = (shown.tasks @ wanted)[:, None].expand(-1, ACTIONS)
    first = learner.cloning_loss(shown).item()
    policy = learner.act(shown.states, shown.tasks, best=True)
    assert first == pytest.approx((policy - shown.actions).square().sum(1).mean().item())
    for _ in range(200):
        batch = make_batch(8)
        for part in (batch, shown):
            part.rewards = torch.zeros_like(part.rewards)
            part.terminated = torch.ones_like(part.terminated)
        learner.update(batch, shown)
    best = learner.act(shown.states, shown.tasks, best=True)
    torch.testing.assert_close(best, shown.actions, atol=0.1, rtol=0.0)


def test_shown_transitions_are_learned_from_as_own_ones() -> None:
    batch, shown = make_batch(4), make_batch(2)
    learner, other = make_learner(), make_learner()
    other.load_state_dict(learner.state_dict())
    torch.manual_seed(0)
    losses = learner.update(batch, shown)
    torch.manual_seed(0)
    assert other.update(batch.joined(shown)) == losses


def test_learning_rates_fall_linearly() -> None:
    learner = make_learner(learning_rate=2e-3, final_learning_rate=0.25)
    for progress, wanted in ((0.0, 2e-3), (0.5, 1.25e-3), (1.0, 0.5e-3)):
        learner.anneal(progress)
        *rates, temperature = [o.param_groups[0]["lr"] for o in learner.optimisers]
        assert rates == pytest.approx([wanted, wanted])
        assert temperature == learner.config.temperature_learning_rate
