"""The hybrid procedure: its settings, rewards, held actions, interruption and what is kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from moe_robot_control import cli
from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning import problems, roman, roman_training
from moe_robot_control.learning.bc import BcConfig
from moe_robot_control.learning.networks import (
    ExpertNetwork,
    GateNetwork,
    MonolithicNetwork,
    num_parameters,
)
from moe_robot_control.learning.problems import Problem, expert_problem, gate_problem
from moe_robot_control.learning.roman import HybridTrainer, _ReturnScale, _Runner
from moe_robot_control.learning.roman_config import HybridConfig, load_hybrid_config
from moe_robot_control.learning.roman_training import monolithic_width
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.policies.gating import sparsify
from moe_robot_control.policies.spaces import (
    DECISION_PERIOD,
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    OBJECTS,
    SKILLS,
    Scene,
    expert_observation,
)
from moe_robot_control.share import share_path

SKILL = "push_button"
NETWORKS = [*SKILLS, "gate", "monolithic"]
TREE = yaml.safe_load(share_path("config/training/roman.yaml").read_text())
NUM_ENVS = 4
VALIDATED = 5
LENGTH = 6
"""Of the made-up episodes."""


def make_episodes(count: int = 3, length: int = 40) -> list[Episode]:
    """Towards the button at random, the gripper shut."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        scene = Scene(
            end_effector=rng.uniform([0.3, -0.3, 0.05], [0.6, 0.3, 0.4], (length, 3)),
            gripper_width=np.zeros(length),
            positions=rng.uniform([0.3, -0.3, 0.0], [0.6, 0.3, 0.2], (length, len(OBJECTS), 3)),
            known=np.ones((length, len(OBJECTS)), dtype=bool),
        )
        reach = scene.positions[:, OBJECTS.index("button")] - scene.end_effector
        actions = np.column_stack([np.clip(reach, -MAX_SPEED, MAX_SPEED), np.zeros(length)])
        weights = np.eye(len(SKILLS))[np.full(length, SKILLS.index(SKILL))]
        episodes.append(Episode(0.05 * np.arange(length), scene, actions, weights))
    return episodes


def make_config(rollouts: int = 3, **changes: Any) -> HybridConfig:
    """The skill's own, made small; names of `ppo` and `gail` have these prefixes."""
    config = load_hybrid_config(SKILL)
    parts: dict[str, dict[str, Any]] = {
        "ppo": {"num_envs": NUM_ENVS, "rollout_steps": 20, "epochs": 2, "minibatch": 32}
        | {"warmup_rollouts": 0},
        "gail": {"width": 16, "updates": 2, "batch": 32, "state_only": True},
    }
    small: dict[str, Any] = {"repeat": 1, "validate_every": 1, "validation_episodes": VALIDATED}
    for name, value in changes.items():
        part, _, rest = name.partition("_")
        if part in parts:
            parts[part][rest] = value
        else:
            small[name] = value
    ppo, gail = replace(config.ppo, **parts["ppo"]), replace(config.gail, **parts["gail"])
    config = replace(config, ppo=ppo, gail=gail, **small)
    steps = rollouts * config.rollout_length
    return replace(config, **({"steps": steps, "bc_cut_off": steps // 2} | small))


class FakeEnv:
    """Made-up environments: what happens at each step is written in tables, over and over.

    Rewards, endings and successes have shape (T, n); like the real one, it takes a step to begin
    the next episode.
    """

    def __init__(
        self,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        success: np.ndarray,
        stages: np.ndarray | None = None,
        size: int = 8,
    ) -> None:
        self.num_envs = rewards.shape[1]
        self._tables = rewards, terminated, truncated, success
        self._stages = np.zeros_like(rewards, dtype=int) if stages is None else stages
        self._size = size
        self.commands: list[np.ndarray] = []

    def reset(self, *, seed: Any = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self._observe(), {
            "stage": self._stages[0] * 0,
            "success": np.zeros(self.num_envs, dtype=bool),
        }

    def step(self, commands: np.ndarray) -> tuple[Any, ...]:
        at = len(self.commands) % len(self._stages)
        self.commands.append(commands.copy())
        rewards, terminated, truncated, success = (table[at] for table in self._tables)
        info = {"stage": self._stages[at], "success": success}
        return self._observe(), rewards, terminated, truncated, info

    def stop(self, which: np.ndarray) -> None:
        """Nothing rests here."""

    def _observe(self) -> np.ndarray:
        """The number of steps so far, and a tenth of the environment's number."""
        observation = np.full((self.num_envs, self._size), 0.01 * len(self.commands))
        return observation + 0.1 * np.arange(self.num_envs)[:, None]


def make_env(num_envs: int, successes: int = 0) -> FakeEnv:
    """Episodes of `LENGTH` decisions, of which the first environments' succeed."""
    rewards = np.tile(np.linspace(0.0, 1.0, LENGTH + 1)[:, None], num_envs)
    terminated = np.zeros((LENGTH + 1, num_envs), dtype=bool)
    truncated = terminated.copy()
    terminated[LENGTH - 1, :successes] = True
    truncated[LENGTH - 1, successes:] = True
    return FakeEnv(rewards, terminated, truncated, terminated)


def make_problem(config: HybridConfig, real: bool = False) -> Problem:
    torch.manual_seed(7)
    problem = expert_problem(SKILL, ExpertNetwork(SKILL, 16, 1), make_episodes(), config, 1)
    return problem if real else replace(problem, make_env=make_env)


def make_trainer(
    folder: Path, config: HybridConfig, seed: int = 0, problem: Problem | None = None
) -> HybridTrainer:
    problem = make_problem(config) if problem is None else problem
    return HybridTrainer(problem, config, BcConfig.load(), seed, folder)


def flat(network: nn.Module | dict[str, Tensor]) -> Tensor:
    state = network if isinstance(network, dict) else network.state_dict()
    return torch.cat([value.flatten() for value in state.values()]).clone()


def write_settings(folder: Path, change: dict[str, Any], remove: str | None = None) -> Path:
    tree = copy.deepcopy(TREE)
    tree["defaults"] |= change
    if remove is not None:
        del tree["defaults"][remove]
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


# Settings


@pytest.mark.parametrize("variant", [None, *TREE["variants"]])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_and_variant_has_settings(name: str, variant: str | None) -> None:
    config = load_hybrid_config(name, variant=variant)
    assert config.rollouts * config.rollout_length <= config.steps
    assert config.rollouts > 0
    assert config.bc_cut_off <= config.steps


@pytest.mark.parametrize("name", NETWORKS)
def test_imitation_weighs_more_than_the_task(name: str) -> None:
    config = load_hybrid_config(name)
    assert config.intrinsic_weight > config.extrinsic_weight > 0.0


def test_networks_then_variants_then_overrides_come_over_defaults(tmp_path: Path) -> None:
    tree = copy.deepcopy(TREE)
    tree["defaults"] |= {"steps": 1, "top_k": 1, "repeat": 1, "ppo_epochs": 1}
    tree["networks"] = {"gate": {"top_k": 2, "repeat": 2, "ppo_epochs": 2}}
    tree["variants"] = {"rival": {"repeat": 3, "ppo_epochs": 3}}
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))

    def numbers(*about: Any) -> tuple[int, ...]:
        config = load_hybrid_config(about[0], path, *about[1:])
        return config.steps, config.top_k, config.repeat, config.ppo.epochs

    assert numbers("unbox") == (1, 1, 1, 1)
    assert numbers("gate") == (1, 2, 2, 2)
    assert numbers("gate", "rival") == (1, 2, 3, 3)
    assert numbers("gate", "rival", {"ppo_epochs": 4}) == (1, 2, 3, 4)
    assert numbers("unbox", "rival") == (1, 1, 3, 3)


@pytest.mark.parametrize("key", ["warp", "ppo_warp", "gail_warp"])
def test_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    path = write_settings(tmp_path, {key: 9})
    with pytest.raises(TrainingError, match=rf"settings\.yaml.*'{key}'"):
        load_hybrid_config(SKILL, path)


@pytest.mark.parametrize("key", ["steps", "position_noise", "ppo_clip", "gail_width"])
def test_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = write_settings(tmp_path, {}, remove=key)
    with pytest.raises(TrainingError, match=rf"settings\.yaml.*'{key}'"):
        load_hybrid_config(SKILL, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bc_start", 1),
        ("absorbing", "yes please"),
        ("top_k", 2.5),
        ("top_k", True),
        ("bc_weight", "much"),
        ("extrinsic_weight", None),
        ("ppo_gae_lambda", True),
        ("ppo_max_gradient_norm", [1.0]),
        ("gail_state_only", 0.0),
        ("gail_gradient_penalty", {}),
    ],
)
def test_value_of_the_wrong_kind_is_named(tmp_path: Path, key: str, value: object) -> None:
    path = write_settings(tmp_path, {key: value})
    with pytest.raises(TrainingError, match=rf"settings\.yaml: {key} must be"):
        load_hybrid_config(SKILL, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1),
        ("top_k", 0),
        ("top_k", 8),
        ("disturbed", 1.5),
        ("ppo_gamma", 1.0),
        ("ppo_gae_lambda", -0.1),
    ],
)
def test_value_out_of_range_is_named(tmp_path: Path, key: str, value: float) -> None:
    """Asked of a network that does not override it."""
    path = write_settings(tmp_path, {key: value})
    with pytest.raises(TrainingError, match=rf"settings\.yaml.*{key}"):
        load_hybrid_config("unbox", path)


def test_unknown_variant_is_named() -> None:
    with pytest.raises(TrainingError, match=r"'nope'.*no_gail"):
        load_hybrid_config(SKILL, variant="nope")


@pytest.mark.parametrize("text", ["defaults: [1\n", "just words\n", "", "warp: {}\n"])
def test_file_that_says_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"settings\.yaml"):
        load_hybrid_config(SKILL, path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"settings\.yaml.*cannot be read"):
        load_hybrid_config(SKILL, tmp_path / "settings.yaml")


# Problems


def test_actions_of_an_expert_are_normalised() -> None:
    """What is drawn is executed in physical units, within limits; the best as by the network."""
    problem = make_problem(make_config())
    count = len(problem.observations)
    assert problem.demonstrated_actions.shape == (count, 4)
    executed = problem.execute(np.zeros((count, 8)), problem.demonstrated_actions.numpy())
    assert np.abs(executed - problem.labels.numpy()).max() < 1e-6
    limits = problem.execute(np.zeros((2, 8)), np.array([[-9.0] * 4, [9.0] * 4]))
    assert np.allclose(limits[0], [-MAX_SPEED] * 3 + [0.0])
    assert np.allclose(limits[1], [MAX_SPEED] * 3 + [MAX_GRIPPER_WIDTH])
    x = problem.observations[:20]
    with torch.no_grad():
        best = problem.execute(x.numpy(), problem.model.best(x).numpy())
        assert np.abs(best - problem.network(x).numpy()).max() < 1e-6


def test_demonstrations_are_told_apart() -> None:
    """Their first observations follow nothing; their last are where success is near."""
    episodes = make_episodes(3, 4)
    problem = expert_problem(SKILL, ExpertNetwork(SKILL, 8, 1), episodes, make_config())
    assert problem.transitions.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert problem.finals.tolist() == [3, 7, 11]
    expected = expert_observation(episodes[2].scene, SKILL)[3]
    assert np.allclose(problem.observations[11].numpy(), expected)


@pytest.mark.parametrize("top_k", [1, 7])
def test_weights_of_the_gate_mix_the_experts(monkeypatch: pytest.MonkeyPatch, top_k: int) -> None:
    """A draw wakes one expert; of the network's own weights the largest are kept."""
    mixed: list[np.ndarray] = []

    def mixture(_: np.ndarray, weights: np.ndarray) -> np.ndarray:
        mixed.append(weights)
        return np.zeros((len(weights), 4))

    monkeypatch.setattr(problems, "load_mixture", lambda folder: mixture)
    config = replace(load_hybrid_config("gate"), top_k=top_k)
    torch.manual_seed(0)
    problem = gate_problem(GateNetwork(8), make_episodes(), Path("experts"), config)
    x = problem.observations[:10]
    with torch.no_grad():
        drawn = problem.model.sample(x, torch.Generator().manual_seed(0)).numpy()
        weights = problem.model.best(x).double().numpy()
    problem.execute(x.numpy(), drawn)
    problem.execute(x.numpy(), weights)
    assert np.array_equal(mixed[0], drawn)
    assert (np.count_nonzero(mixed[1], axis=1) <= top_k).all()
    assert np.array_equal(mixed[1], sparsify(weights, top_k))


# Held actions


def make_runner(env: FakeEnv, repeat: int, gamma: float = 0.5) -> tuple[_Runner, list[np.ndarray]]:
    seen: list[np.ndarray] = []

    def execute(observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        seen.append(observation.copy())
        return action

    config = make_config(repeat=repeat, ppo_gamma=gamma)
    return _Runner(env, SimpleNamespace(execute=execute), config, [0] * env.num_envs), seen


def test_an_action_is_held() -> None:
    env = make_env(2)
    runner, seen = make_runner(env, 3)
    action = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    found = runner.step(action)
    assert len(env.commands) == 3
    assert all(np.array_equal(command, action) for command in env.commands)
    # what is done with it may depend on what is seen meanwhile
    assert np.allclose([observation[0, 0] for observation in seen], [0.0, 0.01, 0.02])
    # rewards of 0, 1/6 and 2/6, each discounted by a half for every decision before it
    assert torch.allclose(found["rewards"], torch.tensor([1 / 6, 1 / 6]))
    assert torch.allclose(found["next_observations"][:, 0], torch.tensor([0.03, 0.13]))
    assert found["valid"].all()
    assert not (found["terminated"] | found["ended"] | found["success"]).any()


def test_an_episode_counts_up_to_its_end() -> None:
    """The first succeeds and the second is cut off, both at the second decision of three."""
    rewards = np.tile([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0]], 3)
    terminated = np.zeros((6, 3), dtype=bool)
    truncated, success = terminated.copy(), terminated.copy()
    terminated[1, 0] = success[1, 0] = truncated[1, 1] = True
    success[2] = True  # said of others' episodes, or without an end: means nothing
    runner, _ = make_runner(FakeEnv(rewards, terminated, truncated, success), 3)
    found = runner.step(np.zeros((3, 4)))
    assert found["valid"].tolist() == [True, True, True]
    assert found["rewards"].tolist() == [2.0, 2.0, 3.0]
    assert found["terminated"].tolist() == [True, False, False]
    assert found["ended"].tolist() == [True, True, False]
    assert found["success"].tolist() == [True, False, False]
    assert torch.allclose(found["next_observations"][:, 0], torch.tensor([0.02, 0.12, 0.23]))
    # the next episodes have begun meanwhile
    found = runner.step(np.zeros((3, 4)))
    assert found["valid"].tolist() == [True, True, True]
    assert found["rewards"].tolist() == [24.0, 24.0, 24.0]


def test_a_step_that_begins_an_episode_is_not_valid() -> None:
    env = make_env(2, successes=1)
    runner, _ = make_runner(env, 1)
    found = [runner.step(np.zeros((2, 4))) for _ in range(LENGTH + 2)]
    valid = [step["valid"].tolist() for step in found]
    assert valid == [[True, True]] * LENGTH + [[False, False], [True, True]]
    ended = [step["ended"].tolist() for step in found]
    assert ended == [[False] * 2] * (LENGTH - 1) + [[True, True]] + [[False] * 2] * 2
    assert found[LENGTH - 1]["terminated"].tolist() == [True, False]
    assert found[LENGTH - 1]["success"].tolist() == [True, False]
    assert found[LENGTH]["rewards"].tolist() == [0.0, 0.0]


# Rewards


IMITATION = 0.8


def make_rows(config: HybridConfig) -> dict[str, Tensor]:
    """Three steps of two environments: a success and a time limit, then resets."""
    generator = torch.Generator().manual_seed(0)
    none = torch.zeros(3, 2, dtype=torch.bool)
    success, ended, valid = none.clone(), none.clone(), ~none
    success[1, 0] = True
    ended[1] = True
    valid[2] = False
    return {
        "observations": torch.rand(3, 2, 8, generator=generator),
        "next_observations": torch.rand(3, 2, 8, generator=generator),
        "actions": torch.randn(3, 2, 4, generator=generator),
        "rewards": torch.tensor([[0.1, 0.2], [0.3, 0.4], [5.0, 6.0]]),
        "success": success,
        "ended": ended,
        "valid": valid,
    }


def find_rewards(folder: Path, monkeypatch: pytest.MonkeyPatch, config: HybridConfig) -> Tensor:
    """Unscaled, of a discriminator that answers the same everywhere."""
    trainer = make_trainer(folder, config)
    discriminator = trainer._discriminator
    monkeypatch.setattr(discriminator, "update", lambda *_: {})
    monkeypatch.setattr(discriminator, "reward", lambda x, _: torch.full((len(x),), IMITATION))
    monkeypatch.setattr(trainer._scale, "update", lambda *_: 1.0)
    return trainer._rewards(make_rows(config))[0]


@pytest.mark.parametrize("absorbing", [False, True])
def test_success_goes_on_to_be_rewarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absorbing: bool
) -> None:
    config = make_config(
        absorbing=absorbing, repeat=2, ppo_gamma=0.9, intrinsic_weight=3.0, extrinsic_weight=2.0
    )
    found = find_rewards(tmp_path, monkeypatch, config)
    second = 2 * DECISION_PERIOD * IMITATION
    # an action is held for two decisions: 0.81 from one to the next
    afterwards = second * 0.81 / (1.0 - 0.81) if absorbing else 0.0
    expected = 2.0 * torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]])
    expected[:2] += 3.0 * second
    expected[1, 0] += 3.0 * afterwards
    torch.testing.assert_close(found, expected)


def test_discriminator_sees_valid_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, tuple[Tensor, Tensor]] = {}
    shown: dict[bool, tuple[Tensor, Tensor]] = {}
    for state_only in (False, True):
        config = make_config(gail_state_only=state_only, ppo_num_envs=2)
        trainer = make_trainer(tmp_path / str(state_only), config)

        def update(real: Any, fake: Any, _: Any, kind: bool = state_only) -> dict[str, float]:
            shown[kind], seen[kind] = real, fake
            return {}

        monkeypatch.setattr(trainer._discriminator, "update", update)
        rows = make_rows(config)
        trainer._rewards(rows)
        state = rows["next_observations" if state_only else "observations"]
        assert torch.equal(seen[state_only][0], state[:2].flatten(0, 1))
        assert torch.equal(seen[state_only][1], rows["actions"][:2].flatten(0, 1).clamp(-1, 1))
    # of states, only those that a step led to
    assert len(shown[False][0]) == 120
    assert len(shown[True][0]) == 117
    # with errors of position only
    demonstrated = make_problem(config).observations
    error = (shown[False][0] - demonstrated).abs()
    assert (error[:, [0, 1, 2, 3, 7]] == 0).all()
    assert 0.0 < error[:, 4:7].max() < 6 * roman.DEMONSTRATION_NOISE


def test_rewards_have_the_scale_of_their_returns() -> None:
    """The deviation is that of all returns so far, which begin anew with each episode."""
    rewards = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)) + 1.0
    ended = torch.zeros(30, 3, dtype=torch.bool)
    ended[9::10] = True
    returns = torch.zeros(30, 3)
    for t in range(30):
        before = torch.zeros(3) if t % 10 == 0 else returns[t - 1]
        returns[t] = 0.9 * before + rewards[t]
    scale = _ReturnScale(3, 0.9)
    valid = torch.ones_like(ended)
    found = [
        scale.update(rewards[part], ended[part], valid[part])
        for part in (slice(0, 15), slice(15, 30))
    ]
    expected = [float(returns[:15].std(correction=0)), float(returns.std(correction=0))]
    assert found == pytest.approx(expected, rel=0.001)


# Training


def test_training_of_a_skill(tmp_path: Path) -> None:
    """In the simulation: it ends, leaves a checkpoint and a log, and can be repeated."""
    config = make_config(3, validate_every=3)
    found = []
    for folder, seed in (("first", 0), ("second", 0), ("third", 1)):
        problem = make_problem(config, real=True)
        start = flat(problem.network)
        trainer = make_trainer(tmp_path / folder, config, seed, problem)
        network = trainer.run()
        assert network is problem.network
        assert not network.training
        assert trainer.steps == config.steps
        assert [steps for steps, _ in trainer.curve] == [0, config.steps]
        assert all(0.0 <= share <= 1.0 for _, share in trainer.curve)
        assert (tmp_path / folder / "checkpoint.pt").is_file()
        assert list((tmp_path / folder / "tensorboard").glob("events.out.tfevents.*"))
        found.append(flat(trainer.model))
        assert torch.isfinite(found[-1]).all()
        saved = torch.load(tmp_path / folder / "checkpoint.pt", weights_only=True)
        assert not torch.equal(flat(saved["model"])[: len(start)], start)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


class Stop(Exception):
    """An interruption."""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A checkpoint after every rollout."""
    monkeypatch.setattr(roman, "CHECKPOINT_EVERY", 1)
    yield


def interrupt(folder: Path, config: HybridConfig, monkeypatch: pytest.MonkeyPatch) -> HybridTrainer:
    """A training that stops in its second rollout."""
    trainer = make_trainer(folder, config)
    collect = trainer._collect

    def stop(runner: _Runner) -> Any:
        if trainer._iteration == 1:
            raise Stop
        return collect(runner)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_collect", stop)
        with pytest.raises(Stop):
            trainer.run()
    return trainer


@pytest.mark.usefixtures("often")
def test_interrupted_training_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(3)
    stopped = interrupt(tmp_path, config, monkeypatch)
    assert stopped.steps == config.rollout_length
    trainer = make_trainer(tmp_path, config)
    assert trainer.steps == config.rollout_length
    assert trainer.curve == stopped.curve
    assert torch.equal(flat(trainer.model), flat(stopped.model))
    assert torch.equal(flat(trainer._discriminator), flat(stopped._discriminator))
    assert trainer._scale.state()["numbers"] == stopped._scale.state()["numbers"]
    moments = [
        [state["exp_avg"] for state in each._learner.optimizer.state.values()]
        for each in (trainer, stopped)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*moments, strict=True))
    rollouts = []
    learn = trainer._learn
    monkeypatch.setattr(trainer, "_learn", lambda rollout: rollouts.append(0) or learn(rollout))
    trainer.run()
    assert len(rollouts) == 2
    assert trainer.steps == config.steps
    assert [steps // config.rollout_length for steps, _ in trainer.curve] == [0, 1, 2, 3]


@pytest.mark.usefixtures("often")
def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    config = make_config(2)
    first = make_trainer(tmp_path, config)
    network = flat(first.run())
    trainer = make_trainer(tmp_path, config)
    assert torch.equal(flat(trainer.run()), network)
    assert trainer.curve == first.curve


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("changes", "seed"), [({}, 1), ({"intrinsic_weight": 0.0}, 0), ({"ppo_clip": 0.1}, 0)]
)
def test_other_settings_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], seed: int
) -> None:
    interrupt(tmp_path, make_config(3), monkeypatch)
    trainer = make_trainer(tmp_path, make_config(3, **changes), seed)
    assert trainer.steps == 0
    assert trainer.curve == []
    start = flat(make_problem(make_config(3)).network)
    assert torch.equal(flat(trainer.problem.network), start)


def test_without_steps_it_is_the_start(tmp_path: Path) -> None:
    config = make_config(0)
    problem = make_problem(config)
    start = flat(problem.network)
    trainer = make_trainer(tmp_path, config, problem=problem)
    assert torch.equal(flat(trainer.run()), start)
    assert trainer.curve == [(0, 0.0)]
    assert trainer.steps == 0


@pytest.mark.parametrize(
    ("successes", "best"), [([3, 1, 2, 0], 0), ([1, 2, 4, 3], 2), ([0, 1, 1, 0], 2)]
)
def test_the_best_is_kept(tmp_path: Path, successes: list[int], best: int) -> None:
    """As many of the validated episodes succeed as is said; of equals the last one counts."""
    config = make_config(3)
    problem = make_problem(config)
    validated: list[Tensor] = []

    def make(num_envs: int) -> FakeEnv:
        if num_envs != VALIDATED:
            return make_env(num_envs)
        validated.append(flat(problem.network))
        return make_env(num_envs, successes[len(validated) - 1])

    problem.make_env = make
    trainer = make_trainer(tmp_path, config, problem=problem)
    network = flat(trainer.run())
    assert [share for _, share in trainer.curve] == [count / VALIDATED for count in successes]
    assert [torch.equal(network, each) for each in validated] == [i == best for i in range(4)]


@pytest.mark.parametrize("progress", [False, True])
def test_validation_gives_up_what_is_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progress: bool
) -> None:
    """Both environments would go on for 40 decisions; one may reach its next stage."""
    monkeypatch.setattr(roman, "STUCK", 10)
    never = np.zeros((40, 2), dtype=bool)
    truncated = never.copy()
    truncated[-1] = True
    stages = np.zeros((40, 2), dtype=int)
    stages[8:, 0] = int(progress)
    env = FakeEnv(np.zeros((40, 2)), never, truncated, never, stages)
    config = make_config(0)
    problem = replace(make_problem(config), make_env=lambda _: env)
    make_trainer(tmp_path, replace(config, validation_episodes=2), problem=problem).run()
    assert len(env.commands) == (19 if progress else 10)


def test_cloning_fades_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(4)
    config = replace(config, bc_weight=0.6, bc_cut_off=2 * config.rollout_length)
    problem = make_problem(config)
    calls: list[int] = []

    def cloning_loss(network: nn.Module, x: Tensor, labels: Tensor, _: BcConfig) -> Tensor:
        assert network is problem.network
        assert x.shape[1:] == (8,) and labels.shape[1:] == (4,)
        calls.append(trainer.steps // config.rollout_length)
        return torch.ones(())

    problem.cloning_loss = cloning_loss
    trainer = make_trainer(tmp_path, config, problem=problem)
    weights: list[float | None] = []
    learn = trainer._learn

    def spy(rollout: Any) -> dict[str, float]:
        metrics = learn(rollout)
        weights.append(metrics.get("bc_loss"))
        return metrics

    monkeypatch.setattr(trainer, "_learn", spy)
    trainer.run()
    assert set(calls) == {0, 1}
    assert weights[:2] == pytest.approx([0.6, 0.3])
    assert weights[2:] == [None, None]


@pytest.mark.parametrize("changes", [{"bc_weight": 0.0}, {"bc_cut_off": 0}])
def test_cloning_can_be_left_out(tmp_path: Path, changes: dict[str, float]) -> None:
    config = make_config(2, **changes)

    def unwanted(*_: Any) -> Tensor:
        raise AssertionError("no cloning was asked for")

    problem = replace(make_problem(config), cloning_loss=unwanted)
    make_trainer(tmp_path, config, problem=problem).run()


@pytest.mark.parametrize("bc_start", [True, False])
def test_only_a_cloned_policy_waits_for_the_critic(tmp_path: Path, bc_start: bool) -> None:
    config = make_config(2, ppo_warmup_rollouts=2, bc_start=bc_start)
    problem = make_problem(config)
    start = flat(problem.network)
    trainer = make_trainer(tmp_path, config, problem=problem)
    trainer.run()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    policy = torch.cat([v.flatten() for name, v in saved.items() if name.startswith("policy.")])
    assert torch.equal(policy, start) == bc_start


def test_without_imitation_the_discriminator_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(2, intrinsic_weight=0.0)
    trainer = make_trainer(tmp_path, config)
    before = flat(trainer._discriminator)

    def unwanted(*_: Any) -> None:
        raise AssertionError("its answers count for nothing")

    for name in ("update", "reward", "forward"):
        monkeypatch.setattr(trainer._discriminator, name, unwanted)
    trainer.run()
    assert torch.equal(flat(trainer._discriminator), before)


def test_without_task_its_reward_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(extrinsic_weight=0.0, absorbing=False, intrinsic_weight=1.0)
    found = find_rewards(tmp_path, monkeypatch, config)
    expected = torch.full((3, 2), DECISION_PERIOD * IMITATION)
    expected[2] = 0.0
    torch.testing.assert_close(found, expected)


def test_checkpoint_says_what_it_is_of(tmp_path: Path) -> None:
    config = make_config(1)
    make_trainer(tmp_path, config, seed=5).run()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["seed"] == 5
    assert saved["config"] == asdict(config)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("width", [64, 128, 200])
def test_rival_has_as_many_parameters(width: int) -> None:
    cloning = replace(BcConfig.load(), width=width)
    experts = [ExpertNetwork(skill, width, cloning.depth) for skill in SKILLS]
    wanted = sum(map(num_parameters, [*experts, GateNetwork(width)]))
    found = num_parameters(MonolithicNetwork(monolithic_width(cloning), cloning.depth))
    assert 0.98 * wanted < found <= wanted


# The command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--all", "--variant", "nope", "--output", "x"], "'nope'"),
        (["--skill", "juggle"], "juggle"),
        (["--skill", SKILL, "--jobs", "0"], "--jobs"),
        (["--gate", "--steps", "-1"], "--steps"),
        (["--gate", "--variant", "no_gail"], "--output"),
        (["--monolithic"], "--output"),
        (["--all", "--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_error_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    """It comes before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "roman", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", [["--skill", SKILL], ["--gate"], ["--monolithic"]])
def test_missing_demonstrations_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: list[str]
) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    places = [
        word
        for name in ("demonstrations", "output", "runs")
        for word in (f"--{name}", str(tmp_path / name))
    ]
    try:
        assert cli.main(["train", "roman", *which, *places]) == 2
    finally:
        torch.use_deterministic_algorithms(before)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "demonstrations") in error


def test_missing_experts_are_named_before_the_gate_is_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(roman_training, "load_episodes", lambda *_, **__: make_episodes())
    monkeypatch.setattr(roman_training, "train_gate", lambda *_: pytest.fail("cloned"))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_: None)
    words = ["--gate", "--experts", str(tmp_path / "nowhere"), "--output", str(tmp_path)]
    assert cli.main(["train", "roman", *words]) == 2
    assert "nowhere/rotate_door.onnx: no such model file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--gate", "--all"], ["--skill"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "roman", *words])
    assert stopped.value.code == 2
    assert "usage: moe-robot-control train roman" in capsys.readouterr().err
