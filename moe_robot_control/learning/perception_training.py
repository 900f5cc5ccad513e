"""Training of the pose network on synthetic images: `moe-robot-control train perception`."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from moe_robot_control.learning.export import export_onnx
from moe_robot_control.learning.keypoint_network import MAP_SIZE, STRIDE, KeypointNetwork
from moe_robot_control.learning.settings import load_settings
from moe_robot_control.learning.synthetic_images import LabelledImages, make_images
from moe_robot_control.manifest import write_manifest
from moe_robot_control.perception.estimator import NETWORK_SIZE
from moe_robot_control.share import share_path

LARGEST_LOG_STD = 3.0


@dataclass(frozen=True)
class PerceptionConfig:
    """Hyper-parameters; see `config/training/perception.yaml`."""

    scenes: int
    epochs: int
    batch: int
    learning_rate: float
    heatmap_sigma: float
    threads: int

    @classmethod
    def load(cls, path: Path | None = None) -> PerceptionConfig:
        """Read a YAML file, by default the package's; see `load_settings`."""
        return load_settings(cls, path or share_path("config/training/perception.yaml"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `train perception`."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, help="training scenes instead of the config's")
    parser.add_argument("--epochs", type=int, help="epochs instead of the config's")
    parser.add_argument("--config", type=Path, help="instead of config/training/perception.yaml")
    parser.add_argument("--output", type=Path, default=Path("models/perception/keypoints.onnx"))
    parser.add_argument("--runs", type=Path, default=Path("runs/perception"))


def run(args: argparse.Namespace) -> int:
    """Render, train (resuming from a checkpoint), export and write the manifest."""
    config = PerceptionConfig.load(args.config)
    scenes, epochs = args.scenes or config.scenes, args.epochs or config.epochs
    images = make_images(scenes, args.seed)
    network, metrics = train(images, config, epochs, args.seed, args.runs)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    example = torch.rand(2, 3, NETWORK_SIZE, NETWORK_SIZE) * 255.0
    network = network.to(memory_format=torch.contiguous_format)
    export_onnx(network, args.output, example, "image", "keypoints", tolerance=1e-3)
    write_manifest(
        args.output,
        command=shlex.join(["moe-robot-control", *sys.argv[1:]]),
        seed=args.seed,
        data_sha256=_digest(images),
        metrics=metrics,
    )
    return 0


def loss_of(
    network: KeypointNetwork, image: Tensor, pixels: Tensor, visible: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """Training loss and the pixel errors (n, 11) [px].

    Cross-entropy of the heatmap with a Gaussian target, Laplace likelihood of the soft-argmax
    pixel with its predicted spread, binary cross-entropy of the visibility.
    """
    heat, features = network.heatmaps(image)
    answer = network.read(heat, features)
    cells = torch.arange(MAP_SIZE) * STRIDE + (STRIDE - 1) / 2
    width = 2.0 * (sigma * STRIDE) ** 2
    gu = torch.exp(-((cells - pixels[..., :1]) ** 2) / width)
    gv = torch.exp(-((cells - pixels[..., 1:]) ** 2) / width)
    target = (gv[..., :, None] * gu[..., None, :]).flatten(2)
    target = target / (target.sum(-1, keepdim=True) + 1e-9)
    cross = -(target * torch.log_softmax(heat.float().flatten(2), -1)).sum(-1)
    error = (answer[..., :2] - pixels).abs().sum(-1)
    log_std = answer[..., 2].clamp(-3.0, LARGEST_LOG_STD)
    likelihood = error / log_std.exp() + 2.0 * log_std
    seen = visible.float()
    total = seen.sum() + 1e-6
    bce = nn.functional.binary_cross_entropy_with_logits(answer[..., 3], seen)
    position = ((cross + 0.2 * error + 0.3 * likelihood) * seen).sum() / total
    return position + 2.0 * bce, (answer[..., :2] - pixels).norm(dim=-1)


def train(
    data: LabelledImages, config: PerceptionConfig, epochs: int, seed: int, runs: Path
) -> tuple[KeypointNetwork, dict[str, float]]:
    """Train on all but the last 5% of the scenes, which give the metrics."""
    torch.manual_seed(seed)
    torch.set_num_threads(config.threads)
    held_out = max(1, len(data.images) // 20)
    split = len(data.images) - held_out
    images = torch.from_numpy(data.images)
    pixels, visible = torch.from_numpy(data.pixels), torch.from_numpy(data.visible)
    network = KeypointNetwork().to(memory_format=torch.channels_last)
    batches = split * 2 // config.batch
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, epochs * batches, pct_start=0.15
    )
    runs.mkdir(parents=True, exist_ok=True)
    checkpoint = runs / f"checkpoint_{len(data.images)}_{epochs}_{seed}.pt"
    digest, start = _digest(data), 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        start = state["epoch"] if state.get("data") == digest else 0
    if start:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    metrics: dict[str, float] = {}
    for epoch in range(start, epochs):
        order = torch.randperm(split * 2, generator=torch.Generator().manual_seed(seed + epoch))
        network.train()
        bar = tqdm(range(batches), desc=f"epoch {epoch + 1}/{epochs}", unit="batch", mininterval=5)
        for step in bar:
            pick = order[step * config.batch : (step + 1) * config.batch]
            scene, view = pick // 2, pick % 2
            image = _as_input(images[scene, view])
            with torch.autocast("cpu", torch.bfloat16):
                loss, error = loss_of(
                    network, image, pixels[scene, view], visible[scene, view], config.heatmap_sigma
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.2f}", px=f"{error.median().item():.2f}")
        metrics = validate(network, images[split:], pixels[split:], visible[split:])
        tqdm.write(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
        torch.save(
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
                "data": digest,
            },
            checkpoint,
        )
    if not metrics:  # the checkpoint was of a finished training
        metrics = validate(network, images[split:], pixels[split:], visible[split:])
    return network, metrics


def _digest(data: LabelledImages) -> str:
    return hashlib.sha256(data.images.tobytes()).hexdigest()


def _as_input(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def validate(
    network: KeypointNetwork, images: Tensor, pixels: Tensor, visible: Tensor
) -> dict[str, float]:
    """Pixel errors over visible objects [px], spread's honesty and visibility's accuracy."""
    network.eval()
    answer = torch.cat([network(_as_input(part)) for part in images.flatten(0, 1).split(64)])
    pixels, visible = pixels.flatten(0, 1), visible.flatten(0, 1)
    error = (answer[..., :2] - pixels).norm(dim=-1)[visible]
    spread = answer[..., 2].clamp(-3.0, LARGEST_LOG_STD).exp()[visible]
    agree = (answer[..., 3] > 0) == visible
    return {
        "median_px": float(error.median()),
        "p95_px": float(error.quantile(0.95)),
        "error_over_spread": float((error / spread).median()),
        "visibility_accuracy": float(agree.float().mean()),
    }
