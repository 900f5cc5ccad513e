"""AWAC's rivals: the same demonstrations, the same log of own transitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.episode import load_episodes
from moe_robot_control.learning.awac import Transitions
from moe_robot_control.learning.awac_config import load_fine_tuning_config
from moe_robot_control.learning.fine_tuning import EVALUATION_SEED, exploration_seed, keyframes
from moe_robot_control.learning.online_training import SimulatedRobot, train
from moe_robot_control.learning.ppo import GaussianActorCritic
from moe_robot_control.learning.rivals import METHODS, Material, Rival, rollout_of
from moe_robot_control.learning.rivals_config import load_rivals_config
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.learning.transitions import Collector, TransitionLog
from moe_robot_control.manifest import verify_manifest
from moe_robot_control.policies.runtime import load_expert
from moe_robot_control.policies.spaces import expert_observation_size
from moe_robot_control.share import share_path

SKILL = "push_button"
SIZE = expert_observation_size(SKILL)
SMALL = {
    "network_width": 16, "network_depth": 1, "offline_updates": 30, "awac_batch": 32,
    "updates_per_step": 0.05, "evaluate_every": 1, "evaluation_episodes": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstrations")
    words = ["record", "--operator", "--skill", SKILL, "--episodes", "2", "--output", str(folder)]
    assert main(words) == 0
    return folder


@pytest.fixture
def make(demonstrations: Path, tmp_path: Path) -> Callable[[str], tuple[Rival, TransitionLog]]:
    def build(method: str) -> tuple[Rival, TransitionLog]:
        log = TransitionLog(tmp_path / method / "transitions", SIZE)
        episodes = load_episodes(demonstrations / SKILL)
        config = load_fine_tuning_config(SKILL, overrides=SMALL)
        rivals = load_rivals_config(overrides={"ppo_rollout_steps": 1, "ppo_warmup_rollouts": 0})
        folder = tmp_path / method
        return METHODS[method](Material(SKILL, episodes, log, 0, folder, config, rivals)), log

    return build


@pytest.fixture(scope="module")
def robot() -> SimulatedRobot:
    return SimulatedRobot(SKILL, 2)


def lived(log: TransitionLog, robot: SimulatedRobot, rival: Rival) -> int:
    collector = Collector(log)
    collector.begin(0)
    robot.live(lambda x: rival.act(x, exploring=True), exploration_seed(0, 0), collector)
    return len(log)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_from_what_it_is_given(
    method: str,
    make: Callable[[str], tuple[Rival, TransitionLog]],
    robot: SimulatedRobot,
) -> None:
    rival, log = make(method)
    states = torch.rand(8, SIZE)

    def answers() -> torch.Tensor:
        with torch.no_grad():
            return rival.act(states, exploring=False).clone()

    untrained = answers()
    rival.pretrain()
    offline = answers()
    # SAC has no offline phase
    assert torch.equal(untrained, offline) == method.startswith("sac")
    rival.learn(lived(log, robot, rival))
    # cloning has no online phase
    assert torch.equal(offline, answers()) == (method == "bc")
    # what is deployed is what was evaluated
    half = torch.tensor([0.25, 0.25, 0.25, 0.04])
    with torch.no_grad():
        deployed = rival.deployed()(states)
    commands = answers() * half + torch.tensor([0.0, 0.0, 0.0, 0.04])
    torch.testing.assert_close(deployed, commands, atol=1e-5, rtol=0.0)
    with torch.no_grad():
        drawn = [rival.act(states, exploring=True) for _ in range(2)]
    assert not torch.equal(*drawn)


def test_a_training_evaluates_and_lives_as_told(
    make: Callable[[str], tuple[Rival, TransitionLog]], robot: SimulatedRobot
) -> None:
    rival, log = make("sac_demonstrations")
    seeds: list[int] = []

    class Watched:
        def live(self, act: Callable, seed: int, collector: Collector) -> bool:
            seeds.append(seed)
            return robot.live(act, seed, collector)

        def success(self, act: Callable, seed: int) -> float:
            seeds.append(seed)
            return robot.success(act, seed)

    curve = train(rival, Watched(), log, 3, episodes=3, evaluate_every=2)
    own = [exploration_seed(3, number) for number in range(3)]
    assert seeds == [EVALUATION_SEED, *own[:2], EVALUATION_SEED, own[2], EVALUATION_SEED]
    assert [row[0] for row in curve] == [0, 2, 3]
    assert curve[0][1] == 0 and curve[-1][1] == len(log) and log.episodes == 3


def test_the_robot_lives_what_the_environment_does(robot: SimulatedRobot, tmp_path: Path) -> None:
    log = TransitionLog(tmp_path / "transitions", SIZE)
    collector = Collector(log)
    collector.begin(0)
    success = robot.live(lambda x: torch.full((len(x), 4), 2.0), 5, collector)
    whole = log.transitions()
    assert not success and not whole.rewards.any() and not whole.terminated.any()
    # ran out of time: the last step has no successor; what was drawn beyond the range is clipped
    assert len(log) == 159 and (whole.actions == 1.0).all()
    torch.testing.assert_close(whole.states[1:], whole.next_states[:-1])


def test_an_evaluation_counts_successes() -> None:
    robot = SimulatedRobot(SKILL, 3)

    def down(states: torch.Tensor) -> torch.Tensor:
        """To the button's place, from above."""
        offset = states[:, 4:7] - states[:, :3]
        flat = (8.0 * offset[:, :2]).clamp(-1, 1)
        near = offset[:, :2].norm(dim=1) < 0.01
        return torch.cat([flat, -near.float()[:, None], -torch.ones(len(states), 1)], dim=1)

    assert robot.success(down, 0) == 1.0
    assert robot.success(lambda x: torch.zeros(len(x), 4), 0) == 0.0


def test_a_rollout_ends_where_episodes_do() -> None:
    states = torch.arange(5.0)[:, None].expand(-1, SIZE) / 10
    following = states.roll(-1, 0).clone()
    following[1] = states[1]  # success
    following[4] = 0.9  # ran out of time
    terminated = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    data = Transitions(states, torch.zeros(5, 4), terminated, following, *3 * [terminated])
    network = torch.nn.Linear(SIZE, 4)
    network.num_inputs, network.features = SIZE, lambda x: x
    model = GaussianActorCritic(network, network, 4, 0.2)
    rollout = rollout_of(data, model)
    assert rollout.ended[:, 0].tolist() == [False, True, False, False, True]
    assert rollout.terminated[:, 0].tolist() == [False, True, False, False, False]
    with torch.no_grad():
        expected = model.log_prob(data.states, data.actions)
    torch.testing.assert_close(rollout.log_probs[:, 0], expected)


def test_keyframes_are_about_the_grippers_changes() -> None:
    count = 12
    states = torch.arange(float(count))[:, None].expand(-1, SIZE)
    following = states + 1.0
    following[7] = 99.0  # another episode begins at 8
    opening = torch.tensor([1.0] * 3 + [-1.0] * 5 + [1.0] * 4)
    actions = torch.cat([torch.zeros(count, 3), opening[:, None]], dim=1)
    data = Transitions(states, actions, opening, following, *3 * [opening])
    # closed at 3; that 7 and 8 differ is no change: they are of different episodes
    np.testing.assert_array_equal(keyframes(data), [2, 3, 4])


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [({"colour": 1}, "'colour'"), ({"sac_colour": 1}, "'sac_colour'"),
     ({"ppo_clip": "much"}, "ppo_clip"), ({"sac_gamma": 1.5}, "sac_gamma"),
     ({"ppo_num_envs": 2}, "ppo_num_envs")],
)  # fmt: skip
def test_bad_settings_are_named(changes: dict[str, object], culprit: str) -> None:
    with pytest.raises(TrainingError, match=culprit):
        load_rivals_config(overrides=changes)


def test_the_command_leaves_a_policy_and_its_manifest(demonstrations: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(share_path("config/training/awac.yaml").read_text())
    tree["defaults"] |= SMALL
    settings = tmp_path / "awac.yaml"
    settings.write_text(yaml.safe_dump(tree))
    words = [
        *("train", "online", "--skill", SKILL, "--method", "awac", "--episodes", "1"),
        *("--demonstrations", str(demonstrations), "--config", str(settings)),
        *("--output", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")),
    ]
    assert main(words) == 0
    folder = tmp_path / "data" / f"awac_{SKILL}_0"
    load_expert(SKILL, folder)
    metrics = verify_manifest(folder / f"{SKILL}.onnx")["metrics"]
    assert metrics["through"] == "simulation"
    assert [row[0] for row in metrics["curve"]] == [0, 1] and len(metrics["curve"][0]) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--skill", "sing", "--method", "bc"], "unknown skill 'sing'"),
        (["--skill", SKILL, "--method", "magic"], "unknown method 'magic'"),
        (["--skill", SKILL, "--method", "bc", "--seed", "-1"], "--seed"),
        (["--skill", SKILL, "--method", "bc", "--demonstrations", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "online", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
