"""Pre-training and fine-tuning of one expert."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from moe_robot_control.learning.awac import Transitions
from moe_robot_control.learning.awac_config import FineTuningConfig, load_fine_tuning_config
from moe_robot_control.learning.fine_tuning import FineTuner, exploration_spread
from moe_robot_control.learning.networks import skill_features
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.transitions import TransitionLog
from moe_robot_control.policies.runtime import load_expert, load_gaussian_expert
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    SKILLS,
    expert_observation_size,
)
from moe_robot_control.share import share_path

SKILL = "push_button"
SIZE = expert_observation_size(SKILL)


def small(**changes: object) -> FineTuningConfig:
    values = {"network_width": 16, "network_depth": 1, "offline_updates": 5, "awac_batch": 8}
    return load_fine_tuning_config(SKILL, overrides=values | changes)


def recorded(count: int = 50, seed: int = 0) -> Transitions:
    rng = np.random.default_rng(seed)
    states = rng.normal(0.3, 0.1, (count, SIZE))
    done = (np.arange(count) % 10 == 9).astype(float)
    actions, shown = rng.uniform(-1, 1, (count, 4)), np.ones(count)
    columns = (states, actions, done, np.roll(states, -1, 0), done, shown, shown)
    return Transitions(*(torch.from_numpy(x.astype(np.float32)) for x in columns))


def make(folder: Path, config: FineTuningConfig | None = None) -> FineTuner:
    log = TransitionLog(folder / "transitions", SIZE)
    return FineTuner(SKILL, recorded(), log, config or small(), 3, folder)


def live(tuner: FineTuner, count: int) -> None:
    """An episode of `count` transitions."""
    rng = np.random.default_rng(count)
    for i in range(count):
        state, following = rng.normal(0.3, 0.1, (2, SIZE))
        last = i == count - 1
        tuner._log.append(tuner.episodes, state, rng.uniform(-1, 1, 4), last, following, last)
    tuner.improve()


@pytest.mark.parametrize("skill", SKILLS)
def test_every_skill_has_settings(skill: str) -> None:
    assert load_fine_tuning_config(skill).offline_updates > 0


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"colour": 1}, "'colour'"),
        ({"awac_colour": 1}, "'awac_colour'"),
        ({"online_share": 1.5}, "online_share"),
        ({"awac_temperature": 0.0}, "awac_temperature"),
        ({"awac_min_weight": 30.0}, "awac_min_weight"),
        ({"awac_highest_return": -1.0}, "awac_highest_return"),
        ({"average_decay": 1.0}, "average_decay"),
        ({"exploration_share": -0.1}, "exploration_share"),
        ({"exploration_speed": 1.1}, "exploration_speed"),
        ({"awac_weighting": "heavy"}, "awac_weighting"),
        ({"policy_distribution": "heavy"}, "policy_distribution"),
        ({"evaluate_every": "often"}, "evaluate_every"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, object], culprit: str, tmp_path: Path) -> None:
    tree = yaml.safe_load(share_path("config/training/awac.yaml").read_text())
    tree["defaults"] |= changes
    path = tmp_path / "awac.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(TrainingError, match=culprit):
        load_fine_tuning_config(SKILL, path)


def test_the_exported_policy_is_the_learners(tmp_path: Path) -> None:
    tuner = make(tmp_path)
    assert len(list(tuner.pretrain())) == 5
    for gaussian in (True, False):
        tuner.export(tmp_path / f"{SKILL}.onnx", gaussian)
        policy = (load_gaussian_expert if gaussian else load_expert)(SKILL, tmp_path)
        states = recorded(seed=1).states
        answer = policy(states.numpy())
        half = (ACTION_HIGH - ACTION_LOW) / 2
        with torch.no_grad():
            drawn = tuner.policy(states)
        mean = ACTION_LOW + (drawn.mean.numpy() + 1.0) * half
        np.testing.assert_allclose(answer[:, :4], mean, atol=1e-5)
        if gaussian:
            spread = 0.3 * drawn.base_dist.scale.numpy()
            spread[:, :3] = np.maximum(spread[:, :3], 0.15)
            np.testing.assert_allclose(answer[:, 4:], spread * half, atol=1e-5)
    assert not list(tmp_path.glob("*.new"))


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    tuner = make(tmp_path)
    list(tuner.pretrain())
    live(tuner, 12)
    tuner.judge(0.5)
    again = make(tmp_path)
    assert (again.episodes, again.updates, again.curve) == (1, 5 + 12, [(1, 12, 0.5, 0.5)])
    assert len(again._log) == 12
    for of in (lambda t: t.learner.parameters(), lambda t: t.policy.parameters()):
        for own, other in zip(of(tuner), of(again), strict=True):
            torch.testing.assert_close(own, other)
    assert list(again.pretrain()) == []
    # other settings are another training
    assert make(tmp_path, small(awac_temperature=0.7)).updates == 0


def test_wherever_it_is_killed_buffer_and_updates_are_the_same(tmp_path: Path) -> None:
    """Killed after every update and every transition, one after the other."""
    whole, updates, transitions = 5 + 12, 0, 0
    while True:
        tuner = make(tmp_path)
        assert len(tuner._log) == transitions
        try:
            for _ in tuner.pretrain():
                updates += 1
                raise KeyboardInterrupt
            if transitions < 12:
                row = recorded(seed=transitions)
                tuner._log.append(0, row.states[0], row.actions[0], 0.0, row.next_states[0], False)
                transitions += 1
                raise KeyboardInterrupt
            tuner.improve()
            break
        except KeyboardInterrupt:
            if updates % 2:  # else what was learned since the last checkpoint is lost
                tuner.save()
            tuner._log.close()
    assert (tuner.updates, len(tuner._log), tuner.episodes) == (whole, 12, 1)


def test_what_acts_is_the_average_of_what_was_learned(tmp_path: Path) -> None:
    tuner = make(tmp_path, small(average_decay=0.5))
    before = [p.clone() for p in tuner.policy.parameters()]
    wanted, seen = [torch.zeros_like(p) for p in before], 0
    for _ in tuner.pretrain():
        seen += 1
        rate = max(0.5, 1 / seen)
        own = tuner.learner.policy.parameters()
        wanted = [(1 - rate) * w + rate * p.detach() for w, p in zip(wanted, own, strict=True)]
    for average, expected in zip(tuner.policy.parameters(), wanted, strict=True):
        torch.testing.assert_close(average, expected)


def test_a_worse_policy_is_rolled_back(tmp_path: Path) -> None:
    tuner = make(tmp_path, replace(small(), tolerated_loss=0.1))
    list(tuner.pretrain())
    assert not tuner.judge(0.6)
    best = [value.clone() for value in tuner.learner.state_dict().values()]
    best_policy = tuner.best_policy
    live(tuner, 10)
    assert not tuner.judge(0.55)  # within what is tolerated, but not the best
    live(tuner, 10)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(best, tuner.learner.state_dict().values(), strict=True)
    )
    assert tuner.judge(0.4)
    for kept, now in zip(best, tuner.learner.state_dict().values(), strict=True):
        torch.testing.assert_close(kept, now)
    assert [row[2] for row in tuner.curve] == [0.6, 0.55, 0.4]
    # what goes on acting is the best again
    assert [row[3] for row in tuner.curve] == [0.6, 0.55, 0.6]
    # within what is tolerated: it acts on, but another one is deployed
    live(tuner, 10)
    assert not tuner.judge(0.55)
    kept, deployed = best_policy.state_dict(), tuner.best_policy.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(kept.values(), deployed.values(), strict=True))
    acting = next(tuner.policy.parameters())
    assert not torch.equal(acting, next(tuner.best_policy.parameters()))


def test_half_of_a_batch_is_lived(tmp_path: Path) -> None:
    tuner = make(tmp_path)
    prior = {tuple(row) for row in skill_features(recorded().states).tolist()}

    def share() -> float:
        return np.mean([tuple(row) in prior for row in tuner._sample().states.tolist()])

    assert share() == 1.0
    live(tuner, 10)
    assert share() == 0.5


def test_it_explores_by_a_share_of_its_spread(tmp_path: Path) -> None:
    tuner = make(tmp_path, small(exploration_share=0.2, exploration_speed=0.0))
    states = recorded(1).states.expand(5000, -1)
    with torch.no_grad():
        drawn, about = tuner.explore(states), tuner.policy(states[:1])
    torch.testing.assert_close(drawn.mean(0), about.mean[0], atol=0.02, rtol=0.0)
    torch.testing.assert_close(drawn.std(0), 0.2 * about.base_dist.scale[0], atol=0.0, rtol=0.05)


def test_where_it_hardly_varies_it_explores_by_a_least_speed() -> None:
    config = small(exploration_share=0.5, exploration_speed=0.1)
    spread = exploration_spread(torch.tensor([[0.4, 0.02, 0.02, 0.02]]).log(), config)
    torch.testing.assert_close(spread, torch.tensor([[0.2, 0.1, 0.1, 0.01]]))


def test_it_learns_which_of_two_actions_succeeds(tmp_path: Path) -> None:
    """Recorded: up half of the time, down otherwise; up succeeds."""
    states = torch.full((64, SIZE), 0.3)
    up = (torch.arange(64) % 2 * 2 - 1).float()
    actions = 0.8 * up[:, None].expand(-1, 4)
    data = Transitions(states, actions, (up > 0).float(), states, *torch.ones(3, 64))
    config = small(
        awac_learning_rate=3e-3, awac_temperature=0.1, awac_min_weight=0.0, offline_updates=400
    )
    log = TransitionLog(tmp_path / "transitions", SIZE)
    tuner = FineTuner(SKILL, data, log, config, 0, tmp_path)
    list(tuner.pretrain())
    with torch.no_grad():
        mean = tuner.policy(states[:1]).mean
    torch.testing.assert_close(mean, torch.full((1, 4), 0.8), atol=0.1, rtol=0.0)
