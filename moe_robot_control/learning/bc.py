"""Behavioural cloning of the experts and of the manipulation network from episodes."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from tqdm import tqdm

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.learning.networks import ExpertNetwork, GateNetwork
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    check_skill,
    expert_observation,
    gate_observation,
)
from moe_robot_control.share import share_path

WARM_UP = 200
"""Iterations in which the learning rate rises."""
HUBER = 0.05
"""Velocity error, in shares of the largest speed, beyond which the loss grows linearly."""

LossFunction = Callable[[Tensor, Tensor], Tensor]
Network = ExpertNetwork | GateNetwork


class TrainingError(MoeRobotControlError):
    """A configuration or demonstrations that cannot be trained with."""


@dataclass(frozen=True)
class BcConfig:
    """Hyper-parameters; `config/training/bc.yaml` explains them."""

    iterations: int
    batch: int
    learning_rate: float
    weight_decay: float
    hidden: int
    layers: int
    position_bias: float
    unknown_share: float
    average_decay: float
    gripper_weight: float
    validation_share: float
    checkpoint_every: int

    @classmethod
    def load(cls, path: str | Path | None = None) -> BcConfig:
        """Read a YAML file, `config/training/bc.yaml` by default.

        Raises:
            TrainingError: missing or malformed, or an unknown, missing or ill-typed key.
        """
        path = share_path("config/training/bc.yaml") if path is None else Path(path)
        try:
            tree = yaml.safe_load(path.read_text())
        except OSError as error:
            raise TrainingError(f"{path}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise TrainingError(
                f"{path}: malformed YAML: {' '.join(str(error).split())}"
            ) from error
        if not isinstance(tree, dict):
            raise TrainingError(f"{path}: expected keys and values")
        kinds = {field.name: field.type for field in fields(cls)}
        for key in sorted(map(str, tree.keys() ^ kinds.keys())):
            what = "missing" if key in kinds else "unknown"
            raise TrainingError(f"{path}: {what} key {key!r}")
        for key, value in tree.items():
            allowed = (int,) if kinds[key] == "int" else (int, float)
            if isinstance(value, bool) or not isinstance(value, allowed) or value < 0:
                raise TrainingError(f"{path}: {key}: expected {kinds[key]}, got {value!r}")
        return cls(**tree)


@dataclass(frozen=True)
class Samples:
    """Observations (n, d) and what to answer (n, m), float32."""

    observations: Tensor
    targets: Tensor


def train_expert(
    episodes: Sequence[Episode],
    skill: str,
    config: BcConfig,
    seed: int = 0,
    runs: Path | None = None,
) -> tuple[ExpertNetwork, dict[str, float]]:
    """Clone one expert.

    Args:
        episodes: demonstrations of `skill`; at least one.
        skill: one of `SKILLS`.
        config: hyper-parameters.
        seed: of initial parameters, batches and errors.
        runs: folder for a checkpoint, from which an interrupted training goes on.

    Returns:
        The network (moving average of its parameters) and its metrics on held-out episodes:
        `velocity_mae` [m/s], `gripper_accuracy`.

    Raises:
        UnknownSkillError, TrainingError: no such skill, no episodes.
    """
    check_skill(skill)
    torch.manual_seed(seed)
    network = ExpertNetwork(skill, config.hidden, config.layers)

    def loss(raw: Tensor, target: Tensor) -> Tensor:
        velocity = nn.functional.smooth_l1_loss(
            torch.tanh(raw[:, :3]), target[:, :3] / MAX_SPEED, beta=HUBER
        )
        gripper = nn.functional.binary_cross_entropy_with_logits(
            raw[:, 3], target[:, 3] / MAX_GRIPPER_WIDTH
        )
        return velocity + config.gripper_weight * gripper

    def measure(answer: Tensor, target: Tensor) -> dict[str, float]:
        half = 0.5 * MAX_GRIPPER_WIDTH
        agree = (answer[:, 3] > half) == (target[:, 3] > half)
        return {
            "velocity_mae": float((answer[:, :3] - target[:, :3]).abs().mean()),
            "gripper_accuracy": float(agree.float().mean()),
        }

    splits = [
        _samples(part, lambda e: expert_observation(e.scene, skill), lambda e: e.actions)
        for part in split_episodes(episodes, config.validation_share, seed)
    ]
    return _fit(network, skill, *splits, loss, measure, config, seed, runs)


def train_gate(
    episodes: Sequence[Episode], config: BcConfig, seed: int = 0, runs: Path | None = None
) -> tuple[GateNetwork, dict[str, float]]:
    """Clone the manipulation network; see `train_expert`.

    Metrics: `accuracy` of the largest weight, `cross_entropy` [nat].
    """
    torch.manual_seed(seed)
    network = GateNetwork(config.hidden, config.layers)

    def loss(raw: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(raw, target)

    def measure(answer: Tensor, target: Tensor) -> dict[str, float]:
        agree = answer.argmax(1) == target.argmax(1)
        entropy = -(target * answer.clamp_min(1e-9).log()).sum(1).mean()
        return {"accuracy": float(agree.float().mean()), "cross_entropy": float(entropy)}

    splits = [
        _samples(part, lambda e: gate_observation(e.scene), lambda e: e.weights)
        for part in split_episodes(episodes, config.validation_share, seed)
    ]
    return _fit(network, "manipulation_network", *splits, loss, measure, config, seed, runs)


def split_episodes(
    episodes: Sequence[Episode], share: float, seed: int
) -> tuple[list[Episode], list[Episode]]:
    """Training and validation episodes; a lone episode serves as both.

    Raises:
        TrainingError: there are no episodes.
    """
    if not episodes:
        raise TrainingError("no episodes to train on")
    if len(episodes) == 1 or share == 0.0:
        return list(episodes), list(episodes)
    held = min(len(episodes) - 1, max(1, round(share * len(episodes))))
    order = np.random.default_rng(seed).permutation(len(episodes))
    return [episodes[i] for i in sorted(order[held:])], [episodes[i] for i in sorted(order[:held])]


def perturb(
    observations: Tensor, bias: float, unknown_share: float, generator: torch.Generator
) -> Tensor:
    """Observations with perception's errors: objects displaced, some unknown.

    Args:
        observations: shape (n, 4 + 4k).
        bias: standard deviation of each object's displacement along each axis [m].
        unknown_share: probability that an object is hidden.
        generator: source of randomness.
    """
    objects = observations[:, 4:].reshape(len(observations), -1, 4)
    noise = bias * torch.randn(objects.shape[:2] + (3,), generator=generator)
    known = objects[..., 3:]
    if unknown_share > 0.0:
        known = known * (torch.rand(known.shape, generator=generator) >= unknown_share)
    seen = torch.cat([(objects[..., :3] + noise) * known, known], dim=-1)
    return torch.cat([observations[:, :4], seen.flatten(1)], dim=1)


def _samples(
    episodes: Sequence[Episode],
    observe: Callable[[Episode], np.ndarray],
    target: Callable[[Episode], np.ndarray],
) -> Samples:
    def stack(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))

    return Samples(stack([observe(e) for e in episodes]), stack([target(e) for e in episodes]))


def _fit(
    network: Any,
    name: str,
    train: Samples,
    held_out: Samples,
    loss_of: LossFunction,
    measure: Callable[[Tensor, Tensor], dict[str, float]],
    config: BcConfig,
    seed: int,
    runs: Path | None,
) -> tuple[Any, dict[str, float]]:
    generator = torch.Generator().manual_seed(seed)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, config.iterations)
    )
    parts = {
        "network": network,
        "average": average,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    checkpoint = None if runs is None else runs / f"{name}_{_mark(train, config, seed)}.pt"
    start = _resume(checkpoint, parts, generator)
    bar = tqdm(range(start, config.iterations), desc=name, unit="it", mininterval=2.0)
    for step in bar:
        pick = torch.randint(len(train.observations), (config.batch,), generator=generator)
        seen = perturb(
            train.observations[pick], config.position_bias, config.unknown_share, generator
        )
        loss = loss_of(network.raw(seen), train.targets[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _follow(average, network, min(config.average_decay, (step + 1) / (step + 10)))
        if step % 500 == 0:
            figures = _evaluate(average, held_out, measure)
            bar.set_postfix({key: f"{value:.4f}" for key, value in figures.items()})
        done = step + 1
        if checkpoint and config.checkpoint_every and done % config.checkpoint_every == 0:
            _save(checkpoint, parts, generator, done)
    return average.eval(), _evaluate(average, held_out, measure)


def _rate(step: int, iterations: int) -> float:
    warm = min(1.0, (step + 1) / min(WARM_UP, max(1, iterations // 10)))
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / iterations)))


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)


@torch.no_grad()
def _evaluate(
    network: nn.Module, samples: Samples, measure: Callable[[Tensor, Tensor], dict[str, float]]
) -> dict[str, float]:
    return measure(network(samples.observations), samples.targets)


def _mark(samples: Samples, config: BcConfig, seed: int) -> str:
    """Tells apart trainings that must not continue each other."""
    digest = hashlib.sha256(json.dumps([asdict(config), seed], sort_keys=True).encode())
    digest.update(samples.observations.numpy().tobytes())
    digest.update(samples.targets.numpy().tobytes())
    return digest.hexdigest()[:12]


def _save(path: Path, parts: dict[str, Any], generator: torch.Generator, iteration: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: part.state_dict() for key, part in parts.items()}
    state |= {"generator": generator.get_state(), "iteration": iteration}
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path | None, parts: dict[str, Any], generator: torch.Generator) -> int:
    if path is None or not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    for key, part in parts.items():
        part.load_state_dict(state[key])
    generator.set_state(state["generator"])
    return int(state["iteration"])
