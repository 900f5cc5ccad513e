"""Exported policies at run time: ONNX Runtime on one thread, checked at load and at every call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.moe import SparseMixture
from moe_robot_control.policies.spaces import (
    ACTION_SIZE,
    GATE_OBSERVATION_SIZE,
    SHARED_OBSERVATION_SIZE,
    SKILLS,
    check_skill,
    expert_columns,
    expert_observation_size,
)

Policy = Callable[[np.ndarray], np.ndarray]
"""From observations to answers, shapes (n, d) or (d,)."""


class LoadedPolicy(Protocol):
    """A policy from a file.

    Attributes:
        version: the beginning of the file's SHA-256.
    """

    version: str

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The answer to observations, shapes (n, d) or (d,)."""


GATE_NAME = "manipulation_network"
MONOLITHIC_NAME = "monolithic"


class PolicyLoadError(MoeRobotControlError):
    """A policy's file is missing, corrupt, or takes or gives the wrong shapes."""


class PolicyOutputError(MoeRobotControlError):
    """A policy was given, or gave, values that are not finite."""


class OnnxPolicy:
    """A policy from observations to an action or to weights.

    Attributes:
        path: of the file.
        version: the beginning of its SHA-256.
    """

    def __init__(self, path: str | Path, expected_inputs: int, expected_outputs: int) -> None:
        """Load and check a model.

        Args:
            path: ONNX file with one input and one output, both (batch, size).
            expected_inputs: length of an observation.
            expected_outputs: length of the answer.

        Raises:
            PolicyLoadError: the message names the file and what is wrong with it.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise PolicyLoadError(f"{self.path}: no such model file")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise PolicyLoadError(f"{self.path}: cannot be read: {error.strerror}") from error
        self.version = hashlib.sha256(content).hexdigest()[:12]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises many kinds
            raise PolicyLoadError(f"{self.path}: not a readable ONNX model") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise PolicyLoadError(
                f"{self.path}: has {len(inputs)} inputs and {len(outputs)} outputs, "
                "expected one each"
            )
        for what, node, size in (
            ("input", inputs[0], expected_inputs),
            ("output", outputs[0], expected_outputs),
        ):
            if len(node.shape) != 2 or node.shape[1] != size:
                raise PolicyLoadError(
                    f"{self.path}: {what} {node.name!r} has shape {node.shape}, "
                    f"expected (batch, {size})"
                )
        self._input = inputs[0].name
        self._inputs = expected_inputs

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The answer to observations, shapes (n, d) or (d,), as float64.

        Raises:
            ValueError: wrong shape.
            PolicyOutputError: the observation or the answer is not finite.
        """
        observation = np.asarray(observation)
        if observation.shape[-1:] != (self._inputs,) or observation.ndim > 2:
            raise ValueError(f"observation has shape {observation.shape}, not (n, {self._inputs})")
        if not np.isfinite(observation).all():
            raise PolicyOutputError(f"{self.path.name}: observation is not finite")
        batch = np.atleast_2d(observation).astype(np.float32)
        answer = self._session.run(None, {self._input: batch})[0].astype(np.float64)
        if not np.isfinite(answer).all():
            raise PolicyOutputError(f"{self.path.name}: answer is not finite")
        return answer.reshape(*observation.shape[:-1], -1)


def load_expert(skill: str, directory: str | Path) -> OnnxPolicy:
    """The expert `<directory>/<skill>.onnx`: observation -> action (4)."""
    path = Path(directory) / f"{check_skill(skill)}.onnx"
    return OnnxPolicy(path, expert_observation_size(skill), ACTION_SIZE)


def load_gaussian_expert(skill: str, directory: str | Path) -> OnnxPolicy:
    """The expert `<directory>/<skill>.onnx`: observation -> mean and spread of actions (8)."""
    path = Path(directory) / f"{check_skill(skill)}.onnx"
    return OnnxPolicy(path, expert_observation_size(skill), 2 * ACTION_SIZE)


def load_experts(
    directory: str | Path, shared: str = "", skills: Sequence[str] = SKILLS
) -> dict[str, LoadedPolicy]:
    """Experts by skill: each maps the skill's own observation to an action.

    Args:
        directory: of the ONNX files.
        shared: name of one network that serves all skills; empty: one network for each.
        skills: whose.

    Raises:
        UnknownSkillError, PolicyLoadError: no such skill, or a file is unusable.
    """
    if not shared:
        return {skill: load_expert(skill, directory) for skill in skills}
    policy = load_shared(directory, shared)
    return {skill: SharedExpert(policy, check_skill(skill)) for skill in skills}


def load_shared(directory: str | Path, name: str) -> OnnxPolicy:
    """The network `<directory>/<name>.onnx` for all skills.

    It maps the observation of `spaces.shared_observation` and the skill as one-hot, together
    (19), to an action (4).
    """
    path = Path(directory) / f"{name}.onnx"
    return OnnxPolicy(path, SHARED_OBSERVATION_SIZE + len(SKILLS), ACTION_SIZE)


class SharedExpert:
    """One skill of a network that serves all."""

    def __init__(self, policy: OnnxPolicy, skill: str) -> None:
        """Ask `policy` for `skill`."""
        self._policy = policy
        self.version = policy.version
        room = SHARED_OBSERVATION_SIZE - expert_observation_size(skill)
        self._rest = np.concatenate([np.zeros(room), np.eye(len(SKILLS))[SKILLS.index(skill)]])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The answer to the skill's own observations, (n, 4 + 4k) or (4 + 4k,)."""
        observation = np.asarray(observation)
        rest = np.broadcast_to(self._rest, (*observation.shape[:-1], len(self._rest)))
        return self._policy(np.concatenate([observation, rest], axis=-1))


def load_gate(directory: str | Path) -> OnnxPolicy:
    """The manipulation network in `directory`: observation -> weights (7)."""
    path = Path(directory) / f"{GATE_NAME}.onnx"
    return OnnxPolicy(path, GATE_OBSERVATION_SIZE, len(SKILLS))


def load_monolithic(directory: str | Path) -> OnnxPolicy:
    """The rival without experts in `directory`: observation of the whole scene -> action (4)."""
    path = Path(directory) / f"{MONOLITHIC_NAME}.onnx"
    return OnnxPolicy(path, GATE_OBSERVATION_SIZE, ACTION_SIZE)


def load_mixture(directory: str | Path, shared: str = "") -> SparseMixture:
    """All experts in `directory`: observations of the whole scene and weights -> actions.

    Args:
        directory: of the ONNX files.
        shared: name of one network that serves all skills, instead of one for each.

    Raises:
        PolicyLoadError: a file is unusable.
    """

    def of_whole_scene(skill: str, policy: Policy) -> Policy:
        columns = expert_columns(skill)
        return lambda observation: policy(observation[:, columns])

    experts = load_experts(directory, shared)
    return SparseMixture([of_whole_scene(skill, policy) for skill, policy in experts.items()])
