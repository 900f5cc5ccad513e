"""The mixture, its limits at alpha = 0 and 1, and learning from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from moe_robot_control.learning.agents import (
    NUM_MOVES,
    Agent,
    CoarseAgent,
    FeedForward,
    GaussianAgent,
    PerTask,
    Recurrent,
    coarse_moves,
)
from moe_robot_control.learning.bench_suite import BenchSuite
from moe_robot_control.learning.curricula import Curriculum, HidingSuite
from moe_robot_control.learning.mix_and_match import (
    Demonstrations,
    MixAndMatchLearner,
    MixedPolicy,
    Sequences,
    curriculum_weights,
    mixed_log_prob,
    pupil_of,
    transfer_loss,
)
from moe_robot_control.learning.mix_and_match_config import load_mix_and_match_config
from moe_robot_control.learning.mix_and_match_trainer import (
    MixAndMatchTrainer,
    from_bytes,
    to_bytes,
)
from moe_robot_control.learning.task_suites import Step


def plain(x: torch.Tensor) -> torch.Tensor:
    return x


@dataclass
class PointSuite:
    """A point on a line that is to come to where it was told to at the beginning."""

    num_envs: int
    length: int = 8
    names: tuple[str, ...] = ("push_button",)
    num_inputs: int = 12
    num_actions: int = 4
    features = staticmethod(plain)

    def reset(self, seed: int) -> np.ndarray:
        self._rng = np.random.default_rng(seed)
        self._goal = self._rng.uniform(-1, 1, (1, self.num_envs))
        self._at = np.zeros((1, self.num_envs))
        self._time = np.zeros((1, self.num_envs), dtype=int)
        self._over = np.zeros((1, self.num_envs), dtype=bool)
        return self._states()

    def step(self, actions: np.ndarray) -> Step:
        valid = ~self._over
        new = self._rng.uniform(-1, 1, (1, self.num_envs))
        before = np.abs(self._at - self._goal)
        moved = self._at + 0.4 * actions[..., 0]
        self._goal = np.where(valid, self._goal, new)
        self._at = np.where(valid, moved, 0.0)
        self._time = np.where(valid, self._time + 1, 0)
        away = np.abs(self._at - self._goal)
        success = valid & (away < 0.15)
        self._over = success | (self._time >= self.length)
        rewards = np.where(valid, before - away, 0.0) + 5.0 * success
        return Step(self._states(), rewards, success, self._over.copy(), valid, success)

    def rest(self, which: np.ndarray) -> None:
        pass

    def teach(self) -> np.ndarray:
        actions = np.zeros((1, self.num_envs, 4))
        actions[..., 0] = np.clip((self._goal - self._at) / 0.4, -1, 1)
        return actions

    def _states(self) -> np.ndarray:
        states = np.zeros((1, self.num_envs, 12))
        states[..., 0], states[..., 4] = self._at, self._goal
        return states


def pair(width: int = 16, recurrent: bool = False) -> list[Agent]:
    trunk = Recurrent if recurrent else FeedForward
    return [
        CoarseAgent(FeedForward(12, plain, width), coarse_moves, NUM_MOVES, 0.1),
        GaussianAgent(trunk(12, plain, width), 4, 0.5),
    ]


def curriculum(agents=pair) -> Curriculum:
    return Curriculum("actions", ("push_button",), agents, PointSuite, judged_alone=False)


def config(method: str = "mix_and_match", **changes):
    small = {
        "steps": 4096, "num_envs": 16, "rollout_steps": 16, "width": 16, "evaluate_every": 2048,
        "evaluation_episodes": 32, "learner_learning_rate": 0.003,
        "learner_final_learning_rate": 1.0,
    }  # fmt: skip
    return load_mix_and_match_config("actions", method, overrides=small | changes)[0]


def parameters(agent: Agent) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.parameters()])


def test_weights_slide_from_one_agent_to_the_next() -> None:
    assert curriculum_weights(0.0, 2) == [1.0, 0.0]
    assert curriculum_weights(0.25, 2) == [0.75, 0.25]
    assert curriculum_weights(1.0, 2) == [0.0, 1.0]
    assert curriculum_weights(1.5, 4) == [0.0, 0.5, 0.5, 0.0]
    assert [pupil_of(p, 3) for p in (0.0, 0.9, 1.0, 2.0)] == [1, 1, 2, None]
    with pytest.raises(ValueError, match="not within 0 and 1"):
        curriculum_weights(1.1, 2)


def test_the_mixture_draws_each_agent_by_its_weight() -> None:
    """Frequencies, and the density that is told of a draw."""
    torch.manual_seed(0)
    agents = pair()
    with torch.no_grad():
        agents[0].policy.bias[:] = torch.where(torch.arange(NUM_MOVES) == 1, 10.0, 0.0)  # x, open
        agents[1].policy.bias[:] = torch.tensor([-3.0, 0.0, 0.0, 0.0])
        agents[1].log_std[:] = -3.0
    count = 4000
    policy = MixedPolicy(agents, 0.3, count, torch.Generator().manual_seed(0))
    x, begins = torch.zeros(count, 12), torch.ones(count, dtype=torch.bool)
    actions, log_probs, values = policy.act(x, begins)
    assert float((actions[:, 0] < 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    found = [agent(x[None], agent.memory(count), begins[None]) for agent in agents]
    expected = mixed_log_prob([f[0] for f in found], actions[None], [0.7, 0.3])[0]
    torch.testing.assert_close(log_probs, expected)
    torch.testing.assert_close(values, (0.7 * found[0][1] + 0.3 * found[1][1])[0])


@pytest.mark.parametrize(("position", "which"), [(0.0, 0), (1.0, 1)])
def test_at_its_ends_the_mixture_is_one_agent_exactly(position: float, which: int) -> None:
    """Draws, densities and all that is learned are bit for bit those of that agent alone."""
    torch.manual_seed(1)
    agents = pair()
    both = MixAndMatchTrainer(curriculum(lambda: copy.deepcopy(agents)), config(), 3)
    alone = MixAndMatchTrainer(
        curriculum(lambda: copy.deepcopy(agents[which : which + 1])), config(), 3
    )
    before = parameters(both.agents[which])
    both.advance(1024, lambda: position)
    alone.advance(1024, lambda: 0.0)
    learned = parameters(both.agents[which])
    assert torch.equal(learned, parameters(alone.agents[0]))
    assert not torch.equal(learned, before)


def test_transfer_fades_with_alpha_and_goes_one_way() -> None:
    torch.manual_seed(0)
    agents = pair()
    x, begins = torch.randn(5, 3, 12), torch.zeros(5, 3, dtype=torch.bool)

    def gradients(position: float) -> list[torch.Tensor]:
        for agent in agents:
            agent.zero_grad()
        found = [agent(x, agent.memory(3), begins)[0] for agent in agents]
        loss = transfer_loss(found, position).mean()
        if loss.requires_grad:
            loss.backward()
        known = [[p.grad for p in a.parameters() if p.grad is not None] for a in agents]
        return [torch.cat([torch.zeros(1), *(g.flatten() for g in some)]) for some in known]

    to_teacher, to_student = gradients(0.0)
    assert to_teacher.abs().sum() == 0.0 and to_student.abs().sum() > 0.0
    torch.testing.assert_close(gradients(0.75)[1], 0.25 * to_student)
    assert all(g.abs().sum() == 0.0 for g in gradients(1.0))


def test_the_student_comes_to_act_as_its_teacher() -> None:
    torch.manual_seed(0)
    trainer = MixAndMatchTrainer(curriculum(), config("distillation"), 0)
    assert trainer.success(1.0)[0] < 0.7
    trainer.advance(4096, lambda: 0.0)  # only the teacher acts
    assert trainer.success(1.0)[0] > 0.9


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_curriculum_learns_and_goes_on_after_an_interruption(tmp_path, recurrent: bool) -> None:
    settings = config(steps=12288, alpha_end=0.6)

    def build() -> MixAndMatchTrainer:
        return MixAndMatchTrainer(curriculum(lambda: pair(16, recurrent)), settings, 0)

    whole = build()
    whole.run(tmp_path / "whole")
    assert whole.curve[0]["position"] == 0.0 and whole.curve[-1]["position"] == 1.0
    assert whole.curve[-1]["last"][0] > 0.8
    again = build()
    again.run(tmp_path / "whole")  # there is nothing left to do
    assert again.curve == whole.curve
    assert torch.equal(parameters(again.agents[1]), parameters(whole.agents[1]))


def test_agents_that_learn_at_a_rate_of_nothing_stay_as_they_are() -> None:
    trainer = MixAndMatchTrainer(curriculum(), config(learner_final_learning_rate=0.0), 0)
    trainer.advance(4096, lambda: 0.5)
    assert trainer.steps == 4096 == trainer.config.steps
    learned = [parameters(agent) for agent in trainer.agents]
    trainer.advance(256, lambda: 0.5)  # beyond the end
    for agent, before in zip(trainer.agents, learned, strict=True):
        assert torch.equal(parameters(agent), before)


def test_the_entropy_weight_falls() -> None:
    """Where nothing else is learned, entropy that is rewarded no more stays as it is."""

    def explored(progress: float) -> float:
        settings = config("complex", learner_entropy_weight=1.0, learner_final_entropy_weight=0.0)
        trainer = MixAndMatchTrainer(curriculum(lambda: pair()[1:]), settings, 0)
        agent = trainer.agents[0]
        learner = MixAndMatchLearner([agent], replace(settings.learner, clip=1e-9))
        learner.anneal(progress)
        x = torch.zeros(8, 4, 12)
        still = torch.zeros(8, 4, dtype=torch.bool)
        distribution, _, _ = agent(x, agent.memory(4), still)
        actions = distribution.mean.detach()
        lived = Sequences(
            x, still, actions, distribution.log_prob(actions).detach(),
            torch.zeros(9, 4), torch.zeros(8, 4), still, still, ~still, [agent.memory(4)],
        )  # fmt: skip
        before = agent.log_std.detach().clone()
        learner.update(lived, 0.0, torch.Generator().manual_seed(0))
        return float((agent.log_std.detach() - before).mean())

    assert explored(0.0) > 1e-3 > 1e-6 > abs(explored(1.0))


def test_a_state_travels_as_bytes() -> None:
    first = MixAndMatchTrainer(curriculum(), config(), 0)
    first.advance(512, lambda: 0.5)
    second = MixAndMatchTrainer(curriculum(), config(), 1)
    second.restore(from_bytes(to_bytes(first.state())))
    for a, b in zip(first.agents, second.agents, strict=True):
        assert torch.equal(parameters(a), parameters(b))
    assert second.steps == first.steps == 512 and list(second.returns) == list(first.returns)


def test_three_agents() -> None:
    """The curriculum passes over the middle one."""
    torch.manual_seed(0)

    def three() -> list[Agent]:
        return [*pair(), GaussianAgent(FeedForward(12, plain, 32), 4, 0.5)]

    trainer = MixAndMatchTrainer(curriculum(three), config(steps=1024), 0)
    assert trainer.scheduled_position() == 0.0
    before = [parameters(agent) for agent in trainer.agents]
    trainer.advance(256, lambda: 1.5)
    changed = [
        not torch.equal(parameters(a), b) for a, b in zip(trainer.agents, before, strict=True)
    ]
    assert changed == [False, True, True]


def test_memory_is_forgotten_where_an_episode_begins() -> None:
    torch.manual_seed(0)
    agent = GaussianAgent(Recurrent(12, plain, 8), 4, 0.5)
    x = torch.randn(6, 2, 12)
    begins = torch.zeros(6, 2, dtype=torch.bool)
    begins[3, 0] = True
    found, values, _ = agent(x, agent.memory(2), begins)
    alone, value, _ = agent(x[3:, :1], agent.memory(1), begins[3:, :1])
    torch.testing.assert_close(found.mean[3:, :1], alone.mean)
    torch.testing.assert_close(values[3:, :1], value)
    # step by step it is the same
    memory, steps = agent.memory(2), []
    for t in range(6):
        one, _, memory = agent(x[t : t + 1], memory, begins[t : t + 1])
        steps.append(one.mean)
    torch.testing.assert_close(torch.cat(steps), found.mean)


def test_each_task_has_its_own_network() -> None:
    torch.manual_seed(0)
    trunk = PerTask(14, plain, 8, 2)
    agent = GaussianAgent(trunk, 4, 0.5, num_tasks=2)
    x = torch.randn(3, 4, 14)
    x[..., 12:] = torch.eye(2)[torch.tensor([0, 1, 0, 1])]
    begins = torch.zeros(3, 4, dtype=torch.bool)
    loss = agent(x, agent.memory(4), begins)[0].mean[:, [0, 2]].sum()
    loss.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in trunk.networks[1].parameters())
    assert any(p.grad.abs().sum() > 0 for p in trunk.networks[0].parameters())


def test_the_last_object_is_hidden_after_its_time_in_every_episode() -> None:
    suite = HidingSuite(PointSuite(3, length=5), visible_steps=2)
    states = suite.reset(0)
    assert states[0, :, 4].all()
    seen = []
    for _ in range(7):
        step = suite.step(np.zeros((1, 3, 4)))
        seen.append(bool(step.states[0, 0, 4] != 0.0))
    # step 6 begins another episode
    assert seen == [True, False, False, False, False, True, True]


def test_only_where_the_skill_ends_is_hidden() -> None:
    suite = HidingSuite(BenchSuite(2, ("pick_and_drop", "push_button"), 1), visible_steps=1)
    first = suite.reset(0)
    later = suite.step(np.zeros((2, 2, 4))).states
    assert (first[0, :, 7] == 1.0).all() and (first[0, :, 11] == 1.0).all()
    assert (later[0, :, 7] == 1.0).all() and (later[0, :, 8:] == 0.0).all()  # the vial, no bin
    assert (first[1, :, 7] == 1.0).all() and (later[1, :, 4:] == 0.0).all()  # no button


def test_demonstrations_are_the_teachers() -> None:
    own = curriculum()
    found = own.demonstrations(5)
    assert found is not None and own.demonstrations(5) is found
    at, goal = found.observations[..., 0], found.observations[..., 4]
    expected = ((goal - at) / 0.4).clamp(-1.0, 1.0)
    torch.testing.assert_close(found.actions[..., 0], expected.float())
    assert own.demonstrations(0) is None
    # every episode runs from the first step to where it ends for good
    assert found.valid[0].all() and (found.valid[:-1] | ~found.valid[1:]).all()


def test_steps_and_episodes_are_drawn_of_what_was_demonstrated() -> None:
    steps, count = 6, 4
    lengths = torch.tensor([2, 6, 3, 1])
    valid = torch.arange(steps)[:, None] < lengths
    observations = torch.arange(steps * count, dtype=torch.float32).reshape(steps, count, 1)
    shown = Demonstrations(observations, -observations, valid)
    generator = torch.Generator().manual_seed(0)
    some = shown.steps(500, generator)
    assert some.valid.all() and torch.equal(some.actions, -some.observations)
    assert set(some.observations.flatten().tolist()) == set(observations[valid].flatten().tolist())
    whole = shown.episodes(2, generator)
    columns = whole.observations[0, :, 0].long()
    assert len(whole.valid) == lengths[columns].max()
    assert torch.equal(whole.observations, observations[: len(whole.valid), columns])
    assert torch.equal(whole.valid, valid[: len(whole.valid), columns])


@pytest.mark.parametrize("position", [0.0, 1.0])
def test_transfer_goes_on_where_ppo_ends(position: float) -> None:
    """After one epoch that goes too far the last agent is still taught, if there is a teacher."""

    def learned(epochs: int) -> list[torch.Tensor]:
        settings = config()
        learner = replace(settings.learner, epochs=epochs, target_kl=1e-12)
        trainer = MixAndMatchTrainer(curriculum(), replace(settings, learner=learner), 0)
        trainer.advance(1, lambda: position)
        return [parameters(agent) for agent in trainer.agents]

    (simple, last), (simple_longer, last_longer) = learned(1), learned(3)
    assert torch.equal(simple, simple_longer)
    assert torch.equal(last, last_longer) == (position == 1.0)


def test_cloning_teaches_what_was_demonstrated() -> None:
    settings = config("complex", demonstrations=20)
    # also where PPO ends after an epoch each time
    learner = replace(settings.learner, cloning_weight=5.0, target_kl=1e-12)
    settings = replace(settings, learner=learner)
    trainer = MixAndMatchTrainer(curriculum(lambda: pair()[1:]), settings, 0)
    trainer.advance(4096, lambda: 0.0)
    assert trainer.success(0.0)[0] > 0.9


@pytest.mark.parametrize("recurrent", [False, True])
def test_only_what_remembers_can_clone_what_is_seen_no_more(recurrent: bool) -> None:
    """The goal is seen in an episode's first steps; the action asks for it all along."""
    torch.manual_seed(0)
    length, count = 12, 32
    goals = torch.sign(torch.randn(count))
    observations = torch.zeros(length, count, 12)
    observations[:2, :, 4] = goals
    actions = torch.zeros(length, count, 4)
    actions[..., 0] = 0.5 * goals
    shown = Demonstrations(observations, actions, torch.ones(length, count, dtype=torch.bool))
    agent = pair(16, recurrent)[1]
    learner = MixAndMatchLearner([agent], config("complex").learner)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.01)
    for _ in range(200):
        loss = learner.cloning_loss(shown, 0.0, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # a quarter of the actions' numbers are 0.5 or -0.5, of which two in twelve steps are seen
    blind = 0.25 * 0.25 * 10 / 12
    assert loss < 0.1 * blind if recurrent else loss > 0.5 * blind
