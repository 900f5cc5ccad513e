"""The experts' and the manipulation network's architectures.

Both take raw observations (see `policies.spaces`) and compute features inside, so that the
exported model needs no preprocessing: relative vectors at several scales, because the same
network must cross half a metre and stop within millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    OBJECTS,
    SKILL_OBJECTS,
    SKILLS,
)

SCALES = (0.1, 0.03, 0.01)
"""Scales of the saturating features [m]."""
GATE_PAIRS: tuple[tuple[str, str], ...] = (
    ("door_handle", "cabinet"),
    ("lid", "box"),
    ("vial", "box"),
    ("vial", "tray"),
    ("vial", "rack"),
    ("vial", "bin"),
    ("drawer_handle", "chest"),
)
"""Objects whose relative position tells what has been done."""


def split_observation(observation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tip (..., 3), gripper width (..., 1), positions (..., k, 3), known (..., k, 1)."""
    objects = observation[..., 4:].unflatten(-1, (-1, 4))
    return observation[..., :3], observation[..., 3:4], objects[..., :3], objects[..., 3:]


def _scaled(vector: Tensor, known: Tensor) -> list[Tensor]:
    """Raw and saturating features of relative vectors (n, 3); zero where unknown (n, 1)."""
    flat = (vector[:, :2].square().sum(1, keepdim=True) + 1e-8).sqrt()
    # what has fallen off the bench must not drown the rest
    features = [(vector / 0.3).clamp(-4.0, 4.0), torch.tanh(flat / 0.02), torch.tanh(flat / 0.1)]
    features += [torch.tanh(vector / scale) for scale in SCALES]
    return [known * feature for feature in features]


def _gripper(width: Tensor) -> list[Tensor]:
    return [width / MAX_GRIPPER_WIDTH, torch.tanh((width - VIAL_WIDTH) / 0.01)]


def mlp(
    inputs: int, outputs: int, width: int, depth: int, activation: type[nn.Module] = nn.SiLU
) -> nn.Sequential:
    """`depth` hidden layers of `width` units."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def falling(value: float, final: float, progress: float) -> float:
    """A setting for a share of the training done: falls linearly to `final * value`."""
    return (1.0 + progress * (final - 1.0)) * value


def anneal(
    optimizers: Sequence[torch.optim.Optimizer], rate: float, final: float, progress: float
) -> None:
    """Set the learning rate for a share of the training done; see `falling`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = falling(rate, final, progress)


class ActionNetwork(nn.Module):
    """Observations to actions, (n, 4), in physical units; subclasses say which features count."""

    num_inputs: int
    layers: nn.Sequential

    def features(self, observation: Tensor) -> Tensor:
        """The network's own view of an observation."""
        raise NotImplementedError

    def logits(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity as a share of full speed (n, 3) and the gripper's opening logit (n,)."""
        output = self.layers(self.features(observation))
        return torch.tanh(output[:, :3]), output[:, 3]

    def forward(self, observation: Tensor) -> Tensor:
        velocity, opening = self.logits(observation)
        gripper = torch.sigmoid(opening)[:, None] * MAX_GRIPPER_WIDTH
        return torch.cat([velocity * MAX_SPEED, gripper], dim=1)


def skill_features(observation: Tensor) -> Tensor:
    """Where one or two objects are to the tip and to each other. (n, 4 + 4k) -> (n, f)."""
    tip, gripper, positions, known = split_observation(observation)
    num_objects = positions.shape[1]
    features = [*_gripper(gripper), tip[:, 2:] / 0.3]
    for k in range(num_objects):
        features += _scaled(positions[:, k] - tip, known[:, k])
    if num_objects == 2:
        features += _scaled(positions[:, 1] - positions[:, 0], known[:, 0] * known[:, 1])
    return torch.cat(features, dim=1)


class ExpertNetwork(ActionNetwork):
    """Observation of one skill, (n, 4 + 4k), to action, (n, 4)."""

    def __init__(self, skill: str, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        self.num_inputs = 4 + 4 * len(SKILL_OBJECTS[skill])
        size = self.features(torch.zeros(1, self.num_inputs)).shape[1]
        self.layers = mlp(size, 4, width, depth)

    def features(self, observation: Tensor) -> Tensor:
        """See `skill_features`."""
        return skill_features(observation)


def scene_features(observation: Tensor) -> Tensor:
    """What tells the state of the job: pairs of objects, heights, and the gripper."""
    tip, gripper, positions, known = split_observation(observation)
    features = _gripper(gripper)
    vial = OBJECTS.index("vial")
    features += _scaled(positions[:, vial] - tip, known[:, vial])
    for first, second in GATE_PAIRS:
        i, j = OBJECTS.index(first), OBJECTS.index(second)
        features += _scaled(positions[:, i] - positions[:, j], known[:, i] * known[:, j])
    button = OBJECTS.index("button")
    height = positions[:, button, 2:] - 0.048
    features += [known[:, button] * torch.tanh(height / scale) for scale in (0.03, 0.01)]
    features.append(known[:, vial])
    return torch.cat(features, dim=1)


def whole_features(observation: Tensor) -> Tensor:
    """All that experts and manipulation network see: also where the tip is to every object."""
    tip, _, positions, known = split_observation(observation)
    features = [scene_features(observation), tip[:, 2:] / 0.3]
    for k in range(len(OBJECTS)):
        features += _scaled(positions[:, k] - tip, known[:, k])
    return torch.cat(features, dim=1)


class GateNetwork(nn.Module):
    """Observation of the whole scene, (n, 48), to softmax weights of the experts, (n, 7)."""

    num_inputs = 4 + 4 * len(OBJECTS)
    temperature = 0.2
    """Sharpens the odds that were learned: experts blend only where these are close."""

    def __init__(self, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        size = self.features(torch.zeros(1, self.num_inputs)).shape[1]
        self.layers = mlp(size, len(SKILLS), width, depth)

    def features(self, observation: Tensor) -> Tensor:
        """See `scene_features`."""
        return scene_features(observation)

    def logits(self, observation: Tensor) -> Tensor:
        """Log odds of the experts, but for a constant. Shape (n, 7)."""
        return self.layers(self.features(observation))

    def forward(self, observation: Tensor) -> Tensor:
        return torch.softmax(self.logits(observation) / self.temperature, dim=1)


class MonolithicNetwork(ActionNetwork):
    """Observation of the whole scene, (n, 48), to action, (n, 4): all skills in one network."""

    num_inputs = 4 + 4 * len(OBJECTS)

    def __init__(self, width: int, depth: int = 3) -> None:
        super().__init__()
        size = self.features(torch.zeros(1, self.num_inputs)).shape[1]
        self.layers = mlp(size, 4, width, depth)

    def features(self, observation: Tensor) -> Tensor:
        """See `whole_features`."""
        return whole_features(observation)


def num_parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
