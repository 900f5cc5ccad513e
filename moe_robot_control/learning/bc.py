"""Behavioural cloning of an expert or of the manipulation network from episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from moe_robot_control.demonstrations.episode import Episode
from moe_robot_control.learning.networks import ExpertNetwork, GateNetwork, MonolithicNetwork
from moe_robot_control.learning.settings import TrainingError, load_settings
from moe_robot_control.learning.sparse_gate import SparseGateNetwork, importance_loss, load_loss
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    expert_observation,
    gate_observation,
)
from moe_robot_control.share import share_path

NetworkT = TypeVar("NetworkT", ExpertNetwork, GateNetwork, MonolithicNetwork)


@dataclass(frozen=True)
class BcConfig:
    """Hyper-parameters; see `config/training/bc.yaml` for their meaning."""

    iterations: int
    batch: int
    learning_rate: float
    weight_decay: float
    width: int
    depth: int
    position_noise: float
    velocity_beta: float
    gripper_weight: float
    label_smoothing: float
    balance_weight: float
    average_decay: float
    checkpoint_every: int

    @classmethod
    def load(cls, path: Path | None = None) -> BcConfig:
        """Read a YAML file, by default the package's; see `load_settings`."""
        return load_settings(cls, path or share_path("config/training/bc.yaml"))


def train_expert(
    episodes: Sequence[Episode],
    skill: str,
    config: BcConfig,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> tuple[ExpertNetwork, dict[str, float]]:
    """Clone `actions` from the skill's own observation.

    Velocities by a smooth L1 loss, the gripper by cross-entropy, since it is open or closed.

    Returns:
        The network with averaged parameters, and metrics on a tenth of the episodes that
        took no part in the training.
    """
    observations = [expert_observation(episode.scene, skill) for episode in episodes]
    labels = [episode.actions for episode in episodes]
    torch.manual_seed(seed)
    network = ExpertNetwork(skill, config.width, config.depth)
    return _fit(
        network, observations, labels, action_loss, _action_metrics, config, seed, checkpoint, skill
    )


def train_monolithic(
    episodes: Sequence[Episode],
    width: int,
    config: BcConfig,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> tuple[MonolithicNetwork, dict[str, float]]:
    """Clone `actions` of all skills from the whole scene: one network without experts."""
    observations = [gate_observation(episode.scene) for episode in episodes]
    labels = [episode.actions for episode in episodes]
    torch.manual_seed(seed)
    network = MonolithicNetwork(width, config.depth)
    return _fit(
        network,
        observations,
        labels,
        action_loss,
        _action_metrics,
        config,
        seed,
        checkpoint,
        "monolithic",
    )


def action_loss(network: nn.Module, x: Tensor, y: Tensor, config: BcConfig) -> Tensor:
    """Smooth L1 of the velocities (n, 3) and cross-entropy of the gripper; y has shape (n, 4)."""
    velocity, opening = network.logits(x)
    motion = nn.functional.smooth_l1_loss(velocity, y[:, :3] / MAX_SPEED, beta=config.velocity_beta)
    target = y[:, 3] / MAX_GRIPPER_WIDTH
    grip = nn.functional.binary_cross_entropy_with_logits(opening, target)
    return motion + config.gripper_weight * grip


def weights_loss(network: nn.Module, x: Tensor, y: Tensor, config: BcConfig) -> Tensor:
    """Cross-entropy with the demonstrated weights, y of shape (n, 7)."""
    return nn.functional.cross_entropy(network.logits(x), y, label_smoothing=config.label_smoothing)


def _action_metrics(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    answer = network(x)
    half = MAX_GRIPPER_WIDTH / 2
    return {
        "velocity_rmse": float((answer[:, :3] - y[:, :3]).square().mean().sqrt()),
        "gripper_accuracy": float(((answer[:, 3] > half) == (y[:, 3] > half)).float().mean()),
    }


def _weights_metrics(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    return {"accuracy": float((network(x).argmax(1) == y.argmax(1)).float().mean())}


def train_gate(
    episodes: Sequence[Episode],
    config: BcConfig,
    seed: int = 0,
    checkpoint: Path | None = None,
    noisy_top_k: int | None = None,
) -> tuple[GateNetwork, dict[str, float]]:
    """Clone `weights` from the observation of the whole scene by cross-entropy.

    Args:
        episodes, config, seed, checkpoint: as of `train_expert`.
        noisy_top_k: build the sparsely-gated network with so many experts awake, and balance
            them (`learning.sparse_gate`).
    """
    observations = [gate_observation(episode.scene) for episode in episodes]
    labels = [episode.weights for episode in episodes]
    torch.manual_seed(seed)
    loss = weights_loss
    if noisy_top_k is None:
        network = GateNetwork(config.width)
    else:
        network = SparseGateNetwork(config.width, k=noisy_top_k)
        loss = _balanced_weights_loss
    return _fit(
        network, observations, labels, loss, _weights_metrics, config, seed, checkpoint, "gate"
    )


def _balanced_weights_loss(network: nn.Module, x: Tensor, y: Tensor, config: BcConfig) -> Tensor:
    gating = network.gate(x)
    balance = importance_loss(gating.weights) + load_loss(gating.load)
    return weights_loss(network, x, y, config) + config.balance_weight * balance


def _fit(
    network: NetworkT,
    observations: list[np.ndarray],
    labels: list[np.ndarray],
    loss_of: Callable[[nn.Module, Tensor, Tensor, BcConfig], Tensor],
    metrics_of: Callable[[nn.Module, Tensor, Tensor], dict[str, float]],
    config: BcConfig,
    seed: int,
    checkpoint: Path | None,
    name: str,
) -> tuple[NetworkT, dict[str, float]]:
    if not observations:
        raise TrainingError("no episodes to train from")
    held_out = max(1, len(observations) // 10) if len(observations) > 1 else 0
    split = len(observations) - held_out
    x = torch.as_tensor(np.concatenate(observations[:split]), dtype=torch.float32)
    y = torch.as_tensor(np.concatenate(labels[:split]), dtype=torch.float32)
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise TrainingError("the demonstrations hold values that are not finite")
    generator = torch.Generator().manual_seed(seed)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.iterations
    )
    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    origin = {"config": asdict(config), "data": _digest(x, y)}
    start = _resume(parts, generator, checkpoint, origin, config.iterations)
    bar = tqdm(
        range(start, config.iterations),
        desc=name,
        unit="it",
        mininterval=1.0,
        initial=start,
        total=config.iterations,
    )
    for iteration in bar:
        pick = torch.randint(len(x), (config.batch,), generator=generator)
        batch = perturb_positions(x[pick], config.position_noise, generator)
        loss = loss_of(network, batch, y[pick], config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if iteration % 100 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        if checkpoint is not None and (iteration + 1) % config.checkpoint_every == 0:
            _save(parts, generator, checkpoint, origin | {"iteration": iteration + 1})
    network.load_state_dict(average.module.state_dict())
    network.eval()
    metrics = {"episodes": float(len(observations)), "steps": float(len(x)), "loss": loss.item()}
    if held_out:
        x = torch.as_tensor(np.concatenate(observations[split:]), dtype=torch.float32)
        y = torch.as_tensor(np.concatenate(labels[split:]), dtype=torch.float32)
        with torch.no_grad():
            metrics |= metrics_of(network, x, y)
    return network, metrics


def perturb_positions(x: Tensor, noise: float | Tensor, generator: torch.Generator) -> Tensor:
    """Observations with errors on the positions of known objects; `noise` is their size [m]."""
    x = x.clone()
    objects = x[:, 4:].unflatten(1, (-1, 4))
    error = torch.randn(objects[..., :3].shape, generator=generator) * noise
    objects[..., :3] += error * objects[..., 3:]
    return x


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _save(parts: dict, generator: torch.Generator, path: Path, about: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: part.state_dict() for key, part in parts.items()}
    torch.save(state | about | {"generator": generator.get_state()}, path)


def _resume(
    parts: dict, generator: torch.Generator, path: Path | None, origin: dict, iterations: int
) -> int:
    """Take up an unfinished training of the same settings and data; where to go on."""
    if path is None or not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    same = all(state.get(key) == value for key, value in origin.items())
    if not same or state["iteration"] >= iterations:
        return 0
    for key, part in parts.items():
        part.load_state_dict(state[key])
    generator.set_state(state["generator"])
    return state["iteration"]
