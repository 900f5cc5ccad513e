"""Policies with a known motion: the tip goes round in a circle for ever."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from moe_robot_control.policies.spaces import (
    GATE_OBSERVATION_SIZE,
    SKILLS,
    expert_observation_size,
)

WEIGHTS = {"unbox": 0.08, "pull_drawer": 0.3, "push_button": 0.62}
"""What the gate always says; the other experts sleep."""
HEAVY, LIGHT, ASLEEP = "push_button", "unbox", "rotate_door"
CENTRE = np.array([0.45, 0.0, 0.42])
"""Above the furniture [m]."""
RADIUS = 0.1
"""[m]"""
TURN_RATE = 1.5
"""Of the circling tip [rad/s]."""
OPENING = 0.08
"""Of the gripper [m]."""
_RADIAL_GAIN = 100.0
_HEIGHT_GAIN = 1.0


def write_policies(folder: Path, turn_rate: float = TURN_RATE) -> None:
    """Write the experts, who circle at `turn_rate` [rad/s], and the gate."""
    circle = partial(_circle, turn_rate=turn_rate)
    for skill in SKILLS:
        _save(folder / f"{skill}.onnx", expert_observation_size(skill), "action", circle)
    _save(folder / "manipulation_network.onnx", GATE_OBSERVATION_SIZE, "weights", _constant)


def _save(path: Path, size: int, output: str, build) -> None:
    nodes, constants, width = build(size, output)
    graph = helper.make_graph(
        nodes,
        "known_motion",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
        [
            numpy_helper.from_array(np.array(value, dtype=np.float32), name)
            for name, value in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def _circle(size: int, output: str, turn_rate: float):
    """v = turn x r + k (R^2 - |r|^2) r in the plane, and back to its height; r from the centre."""
    tip = np.zeros((size, 3))
    tip[[0, 1, 2], [0, 1, 2]] = 1.0
    turn = np.zeros((3, 3))
    turn[0, 1], turn[1, 0], turn[2, 2] = turn_rate, -turn_rate, -_HEIGHT_GAIN
    node = helper.make_node
    nodes = [
        node("MatMul", ["observation", "tip"], ["position"]),
        node("Sub", ["position", "centre"], ["r"]),
        node("Mul", ["r", "r"], ["squares"]),
        node("MatMul", ["squares", "sum"], ["distance"]),
        node("Sub", ["radius", "distance"], ["missing"]),
        node("MatMul", ["r", "outward"], ["out"]),
        node("Mul", ["out", "missing"], ["radial"]),
        node("MatMul", ["r", "turn"], ["tangential"]),
        node("Add", ["radial", "tangential"], ["velocity"]),
        node("MatMul", ["velocity", "all"], ["motion"]),
        node("Add", ["motion", "opening"], [output]),
    ]
    constants = {
        "tip": tip,
        "centre": CENTRE,
        "sum": [[1.0], [1.0], [0.0]],
        "radius": [[RADIUS**2]],
        "outward": _RADIAL_GAIN * np.diag([1.0, 1.0, 0.0]),
        "turn": turn,
        "all": np.eye(3, 4),
        "opening": [[0.0, 0.0, 0.0, OPENING]],
    }
    return nodes, constants, 4


def _constant(size: int, output: str):
    nodes = [
        helper.make_node("MatMul", ["observation", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "weights_"], [output]),
    ]
    weights = [[WEIGHTS.get(skill, 0.0) for skill in SKILLS]]
    return nodes, {"nothing": np.zeros((size, len(SKILLS))), "weights_": weights}, len(SKILLS)
