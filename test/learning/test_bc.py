import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.learning.bc import BcConfig, train_expert, train_gate
from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.networks import ExpertNetwork, GateNetwork
from moe_robot_control.learning.perception_training import PerceptionConfig
from moe_robot_control.learning.settings import TrainingError
from moe_robot_control.policies.runtime import load_expert, load_gate
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    GATE_OBSERVATION_SIZE,
    MAX_GRIPPER_WIDTH,
    OBJECTS,
    SKILLS,
    Scene,
    expert_observation,
    expert_observation_size,
    gate_observation,
)

GAIN = 0.6
SHORT = 300


def make_scene(count: int, rng: np.random.Generator) -> Scene:
    return Scene(
        end_effector=rng.uniform([0.3, -0.3, 0.05], [0.6, 0.3, 0.4], (count, 3)),
        gripper_width=rng.choice([0.0, MAX_GRIPPER_WIDTH], count),
        positions=rng.uniform([0.3, -0.3, 0.0], [0.6, 0.3, 0.2], (count, len(OBJECTS), 3)),
        known=np.ones((count, len(OBJECTS)), dtype=bool),
    )


def linear_policy(scene: Scene) -> np.ndarray:
    """Towards the button in proportion to the distance; open when far away to the right."""
    reach = scene.positions[:, OBJECTS.index("button")] - scene.end_effector
    opening = np.where(reach[:, 1] > 0.0, MAX_GRIPPER_WIDTH, 0.0)
    return np.column_stack([GAIN * 0.4 * reach, opening])


def nearest_stage(scene: Scene) -> np.ndarray:
    """The first or the last skill, depending on where the vial is."""
    reach = (
        scene.positions[:, OBJECTS.index("vial"), 0] - scene.positions[:, OBJECTS.index("bin"), 0]
    )
    return np.eye(len(SKILLS))[np.where(reach > 0.0, 0, len(SKILLS) - 1)]


def make_episodes(count: int = 10, length: int = 200) -> list[Episode]:
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        scene = make_scene(length, rng)
        stamps = 0.05 * np.arange(length)
        episodes.append(Episode(stamps, scene, linear_policy(scene), nearest_stage(scene)))
    return episodes


@pytest.fixture
def config() -> BcConfig:
    return replace(BcConfig.load(), iterations=SHORT, batch=256, average_decay=0.95)


def test_linear_policy_is_recovered(config: BcConfig) -> None:
    config = replace(config, iterations=1500, position_noise=0.0)
    network, metrics = train_expert(make_episodes(), "push_button", config, seed=0)
    scene = make_scene(500, np.random.default_rng(1))
    given = torch.as_tensor(expert_observation(scene, "push_button"), dtype=torch.float32)
    with torch.no_grad():
        answer = network(given).numpy()
    expected = linear_policy(scene)
    assert np.abs(answer[:, :3] - expected[:, :3]).mean() < 0.003
    half = MAX_GRIPPER_WIDTH / 2
    assert ((answer[:, 3] > half) == (expected[:, 3] > half)).mean() > 0.97
    assert metrics["gripper_accuracy"] > 0.97


def test_gate_is_recovered(config: BcConfig) -> None:
    config = replace(config, iterations=600, position_noise=0.0)
    network, metrics = train_gate(make_episodes(), config, seed=0)
    scene = make_scene(500, np.random.default_rng(1))
    given = torch.as_tensor(gate_observation(scene), dtype=torch.float32)
    with torch.no_grad():
        weights = network(given).numpy()
    assert np.allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    assert (weights.argmax(axis=1) == nearest_stage(scene).argmax(axis=1)).mean() > 0.95
    assert metrics["accuracy"] > 0.95


def test_actions_stay_within_their_limits() -> None:
    network = ExpertNetwork("unbox")
    with torch.no_grad():
        given = 100.0 * torch.randn(200, expert_observation_size("unbox"))
        answer = network(given).numpy()
    assert (answer >= ACTION_LOW - 1e-6).all()
    assert (answer <= ACTION_HIGH + 1e-6).all()


@pytest.mark.parametrize("skill", SKILLS)
def test_unknown_objects_do_not_count(skill: str) -> None:
    torch.manual_seed(0)
    network = ExpertNetwork(skill).eval()
    given = torch.rand(5, expert_observation_size(skill))
    given[:, 7] = 0.0
    moved = given.clone()
    moved[:, 4:7] += 1.0
    with torch.no_grad():
        assert torch.equal(network(given), network(moved))


def test_every_expert_and_the_gate_export(tmp_path: Path) -> None:
    scene = make_scene(64, np.random.default_rng(2))
    for skill in SKILLS:
        torch.manual_seed(0)
        network = ExpertNetwork(skill)
        given = expert_observation(scene, skill)
        example = torch.as_tensor(given, dtype=torch.float32)
        export_onnx(network, tmp_path / f"{skill}.onnx", example, "observation", "action")
        with torch.no_grad():
            expected = network(example).numpy()
        assert np.abs(load_expert(skill, tmp_path)(given) - expected).max() < 1e-5
    gate = GateNetwork()
    given = gate_observation(scene)
    example = torch.as_tensor(given, dtype=torch.float32)
    path = tmp_path / "manipulation_network.onnx"
    export_onnx(gate, path, example, "observation", "weights")
    with torch.no_grad():
        expected = gate(example).numpy()
    answer = load_gate(tmp_path)(given)
    assert np.abs(answer - expected).max() < 1e-5
    assert np.allclose(answer.sum(axis=1), 1.0, atol=1e-5)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["observation"]
    assert [node.name for node in session.get_outputs()] == ["weights"]
    assert session.get_inputs()[0].shape == ["batch", GATE_OBSERVATION_SIZE]


def test_export_that_differs_is_refused(tmp_path: Path) -> None:
    class Drifting(torch.nn.Module):
        """Computes something else at every call, as no exported graph can."""

        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x + float(self.calls)

    with pytest.raises(MoeRobotControlError, match=r"drift\.onnx"):
        export_onnx(Drifting(), tmp_path / "drift.onnx", torch.rand(4, 8), "observation", "action")


@pytest.mark.parametrize("train", ["expert", "gate"])
def test_same_seed_same_model(tmp_path: Path, config: BcConfig, train: str) -> None:
    def once(name: str, seed: int) -> bytes:
        episodes = make_episodes(4)
        if train == "expert":
            network, _ = train_expert(episodes, "push_button", config, seed)
            example = torch.rand(8, expert_observation_size("push_button"))
        else:
            network, _ = train_gate(episodes, config, seed)
            example = torch.rand(8, GATE_OBSERVATION_SIZE)
        path = tmp_path / f"{name}.onnx"
        export_onnx(network, path, example, "observation", "action")
        return path.read_bytes()

    first = once("first", 3)
    assert once("second", 3) == first
    assert once("third", 4) != first


def test_interrupted_training_goes_on_to_the_same_end(tmp_path: Path, config: BcConfig) -> None:
    config = replace(config, iterations=SHORT, checkpoint_every=100)
    checkpoint = tmp_path / "push_button.pt"
    episodes = make_episodes(4)
    whole, _ = train_expert(episodes, "push_button", config, 0)

    class Stop(Exception):
        pass

    def stop_after(steps: int) -> Callable[..., None]:
        count = 0

        def hook(*_: object) -> None:
            nonlocal count
            count += 1
            if count > steps:
                raise Stop

        return hook

    handle = register_optimizer_step_post_hook(stop_after(150))
    try:
        with pytest.raises(Stop):
            train_expert(episodes, "push_button", config, 0, checkpoint)
    finally:
        handle.remove()
    assert checkpoint.is_file()
    # of other demonstrations it is not taken up
    other = tmp_path / "other.pt"
    shutil.copy(checkpoint, other)
    afresh, _ = train_expert(episodes[:3], "push_button", config, 0)
    unmoved, _ = train_expert(episodes[:3], "push_button", config, 0, other)
    for one, another in zip(afresh.parameters(), unmoved.parameters(), strict=True):
        assert torch.equal(one, another)
    resumed, _ = train_expert(episodes, "push_button", config, 0, checkpoint)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_episodes(config: BcConfig) -> None:
    with pytest.raises(TrainingError, match="no episodes"):
        train_expert([], "push_button", config)


def test_episodes_that_are_not_finite(config: BcConfig) -> None:
    episode = make_episodes(1)[0]
    episode.actions[3, 1] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        train_expert([episode], "push_button", config)


@pytest.mark.parametrize("kind", [BcConfig, PerceptionConfig])
def test_config_errors_name_file_and_key(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "settings.yaml"
    with pytest.raises(TrainingError, match=r"settings\.yaml"):
        kind.load(path)
    path.write_text("batch: [1\n")
    with pytest.raises(TrainingError, match=r"settings\.yaml.*malformed"):
        kind.load(path)
    path.write_text("batch: 1\n")
    with pytest.raises(TrainingError, match="missing key"):
        kind.load(path)
    values = "".join(f"{key}: {value}\n" for key, value in asdict(kind.load()).items())
    path.write_text(values + "warp: 9\n")
    with pytest.raises(TrainingError, match="'warp'"):
        kind.load(path)
