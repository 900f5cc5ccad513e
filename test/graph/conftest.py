"""A real graph over DDS, in a ROS domain of its own, with tiny policies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.up import graph_environment
from moe_robot_control.policies.spaces import (
    GATE_OBSERVATION_SIZE,
    OBJECTS,
    SKILLS,
    expert_observation_size,
)


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain that no other test uses."""
    with reserved_domain() as number:
        yield number


@pytest.fixture
def environment(domain: int) -> dict[str, str]:
    """Environment of a node of this test."""
    return graph_environment() | {"ROS_DOMAIN_ID": str(domain)}


@pytest.fixture
def run_node(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a module of `moe_robot_control.nodes` to its end."""

    def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"moe_robot_control.nodes.{module}", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with linear policies: every expert goes to its first object, gripper closed."""
    folder = tmp_path_factory.mktemp("policies")
    for i, skill in enumerate(SKILLS):
        size = expert_observation_size(skill)
        gain = np.zeros((size, 4))
        gain[[4, 5, 6], [0, 1, 2]] = 0.6
        gain[[0, 1, 2], [0, 1, 2]] = -0.6
        write_linear(folder / f"{skill}.onnx", gain, np.array([0.0, 0.0, 0.02 * i, 0.0]), "action")
    weights = np.array([0.0, 0.1, 0.0, 0.3, 0.0, 0.6, 0.0])
    gain = np.zeros((GATE_OBSERVATION_SIZE, len(SKILLS)))
    write_linear(folder / "manipulation_network.onnx", gain, weights, "weights")
    return folder


def write_linear(path: Path, gain: np.ndarray, bias: np.ndarray, output: str) -> None:
    """Write an ONNX file with output = observation @ gain + bias."""
    inputs, outputs = gain.shape
    nodes = [
        helper.make_node("MatMul", ["observation", "gain"], ["product"]),
        helper.make_node("Add", ["product", "bias"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", outputs])],
        [
            numpy_helper.from_array(gain.astype(np.float32), "gain"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def pose_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose network that sees every object in the middle of every image."""
    path = tmp_path_factory.mktemp("perception") / "keypoints.onnx"
    answer = np.tile([63.5, 63.5, 0.0, 5.0], len(OBJECTS)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["colours"]),
        helper.make_node("MatMul", ["colours", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "answer"], ["list"]),
        helper.make_node("Reshape", ["list", "shape"], ["keypoints"]),
    ]
    shape = ["batch", len(OBJECTS), 4]
    graph = helper.make_graph(
        nodes,
        "middle",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 128, 128])],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.array([-1, 3]), "flat"),
            numpy_helper.from_array(np.zeros((3, answer.size), np.float32), "nothing"),
            numpy_helper.from_array(answer, "answer"),
            numpy_helper.from_array(np.array([-1, len(OBJECTS), 4]), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


def processes_of_domain(domain: int) -> list[int]:
    """Processes with this ROS domain in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            zombie = "\nState:\tZ" in (entry / "status").read_text()
        except OSError:
            continue
        if f"ROS_DOMAIN_ID={domain}".encode() in variables and not zombie:
            found.append(int(entry.name))
    return found
