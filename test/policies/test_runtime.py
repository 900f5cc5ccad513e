from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from moe_robot_control.policies.runtime import (
    OnnxPolicy,
    PolicyLoadError,
    PolicyOutputError,
    load_expert,
    load_experts,
    load_gate,
    load_mixture,
)
from moe_robot_control.policies.spaces import (
    SKILLS,
    UnknownSkillError,
    expert_columns,
    expert_observation_size,
)


def write_linear(path: Path, weight: np.ndarray) -> Path:
    """A model that multiplies its observation by `weight`."""
    inputs, outputs = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weight"], ["action"])],
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", outputs])],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_single_and_batch_agree(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(8, 4))
    policy = OnnxPolicy(write_linear(tmp_path / "push_button.onnx", weight), 8, 4)
    batch = np.random.default_rng(1).normal(size=(3, 8))
    answer = policy(batch)
    assert answer.shape == (3, 4)
    assert answer.dtype == np.float64
    assert np.allclose(answer, batch @ weight, atol=1e-5)
    assert policy(batch[1]).shape == (4,)
    assert np.allclose(policy(batch[1]), answer[1], atol=1e-6)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyLoadError, match=r"unbox\.onnx.*no such model file"):
        load_expert("unbox", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 8])
def test_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manipulation_network.onnx").write_bytes(content)
    with pytest.raises(PolicyLoadError, match=r"manipulation_network\.onnx") as caught:
        load_gate(tmp_path)
    assert "\n" not in str(caught.value)


def test_cut_off_file_is_corrupt(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "push_button.onnx", np.ones((8, 4)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PolicyLoadError, match=r"push_button\.onnx"):
        load_expert("push_button", tmp_path)


@pytest.mark.parametrize(("shape", "which"), [((12, 4), "input"), ((8, 3), "output")])
def test_wrong_shapes_are_told(tmp_path: Path, shape: tuple[int, int], which: str) -> None:
    write_linear(tmp_path / "push_button.onnx", np.ones(shape))
    with pytest.raises(PolicyLoadError, match=rf"push_button\.onnx: {which} .* expected \(batch"):
        load_expert("push_button", tmp_path)


def test_unknown_skill(tmp_path: Path) -> None:
    with pytest.raises(UnknownSkillError, match="fold_laundry"):
        load_expert("fold_laundry", tmp_path)


def test_observation_of_wrong_size(tmp_path: Path) -> None:
    policy = OnnxPolicy(write_linear(tmp_path / "a.onnx", np.ones((8, 4))), 8, 4)
    for wrong in (np.zeros(7), np.zeros((2, 9)), np.zeros((1, 2, 8))):
        with pytest.raises(ValueError, match="observation has shape"):
            policy(wrong)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_observation_not_finite(tmp_path: Path, bad: float) -> None:
    policy = OnnxPolicy(write_linear(tmp_path / "a.onnx", np.ones((8, 4))), 8, 4)
    with pytest.raises(PolicyOutputError, match=r"a\.onnx: observation is not finite"):
        policy(np.array([0.0] * 7 + [bad]))


def test_answer_not_finite(tmp_path: Path) -> None:
    weight = np.full((8, 4), np.float32(3e38))
    policy = OnnxPolicy(write_linear(tmp_path / "a.onnx", weight), 8, 4)
    with pytest.raises(PolicyOutputError, match=r"a\.onnx: answer is not finite"):
        policy(np.full(8, 10.0))


def test_one_network_serves_all_skills(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(19, 4))
    write_linear(tmp_path / "one.onnx", weight)
    experts = load_experts(tmp_path, "one")
    assert tuple(experts) == SKILLS
    for index, skill in enumerate(SKILLS):
        size = expert_observation_size(skill)
        observations = rng.normal(size=(5, size))
        expected = observations @ weight[:size] + weight[12 + index]
        np.testing.assert_allclose(experts[skill](observations), expected, atol=1e-5)
        np.testing.assert_allclose(experts[skill](observations[0]), expected[0], atol=1e-5)
    scene, weights = rng.normal(size=(2, 48)), np.eye(7)[[0, 5]]
    mixed = load_mixture(tmp_path, "one")(scene, weights)
    door = experts["rotate_door"](scene[:1, expert_columns("rotate_door")])
    np.testing.assert_allclose(mixed[:1], door, atol=1e-6)


def test_a_shared_network_of_another_shape_is_named(tmp_path: Path) -> None:
    write_linear(tmp_path / "one.onnx", np.ones((12, 4)))
    with pytest.raises(PolicyLoadError, match=r"one\.onnx.*\(batch, 19\)"):
        load_experts(tmp_path, "one")
    with pytest.raises(PolicyLoadError, match=r"other\.onnx.*no such model file"):
        load_experts(tmp_path, "other")
