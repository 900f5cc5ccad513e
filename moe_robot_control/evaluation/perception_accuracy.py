"""`moe-robot-control evaluate perception`: position errors on renders never trained on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.figure
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.learning.synthetic_images import (
    CAMERAS,
    LabelledImages,
    make_images,
)
from moe_robot_control.perception.estimator import PoseEstimator
from moe_robot_control.policies.spaces import ALL_SCENARIOS, OBJECTS
from moe_robot_control.share import share_path
from moe_robot_control.world.tasks import check_scenario

CHI2_95 = 7.815
"""95% quantile of the chi-squared distribution with three degrees of freedom."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate perception`."""
    parser.add_argument("--episodes", type=int, default=1000, help="scenes, two views each")
    parser.add_argument("--scenario", type=int, action="append", help="1 to 7; all by default")
    parser.add_argument("--seed", type=int, default=777, help="not one that was trained with")
    parser.add_argument("--model", type=Path, help="instead of the package's own")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--out", type=Path, default=Path("docs/results/perception"))


def run(args: argparse.Namespace) -> int:
    """Render, estimate, compare; table, Markdown, picture."""
    if args.episodes < 1:
        raise MoeRobotControlError(f"--episodes must be 1 or more, not {args.episodes}")
    model = args.model or share_path("models/perception/keypoints.onnx")
    PoseEstimator(model, {})
    scenarios = [check_scenario(number) for number in args.scenario or ALL_SCENARIOS]
    errors = measure(make_images(args.episodes, args.seed, scenarios), model)
    rows = summarise(errors)
    _print(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    command = f"moe-robot-control evaluate perception --episodes {args.episodes} --seed {args.seed}"
    command += "".join(f" --scenario {number}" for number in args.scenario or [])
    heading = (
        f"{args.episodes} held-out scenes, randomised as in training, none of which it has seen:\n"
        f"`{command}`.\n\n"
    )
    (args.out / "README.md").write_text(
        "# Accuracy of perception\n\n" + heading + _markdown(rows) + "\n![errors](errors.png)\n"
    )
    _plot(errors, args.out / "errors.png")
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def measure(data: LabelledImages, model: Path) -> dict[str, np.ndarray]:
    """Compare estimates with the truth.

    Returns:
        For each scene and object, shapes (n, 11): `error` [m] (NaN where nothing was
        published), `inside` (1 where the truth lies in the 95% ellipsoid), `visible` (in at
        least one view), `hidden` (in none).
    """
    shape = (len(data.images), len(OBJECTS))
    error, inside = np.full(shape, np.nan), np.full(shape, np.nan)
    network = PoseEstimator(model, {})
    for i in tqdm(range(len(data.images)), desc="estimates", unit="scene"):
        cameras = dict(zip(CAMERAS, data.cameras[i], strict=True))
        estimator = network.with_cameras(cameras)
        images = dict(zip(CAMERAS, data.images[i], strict=True))
        for estimate in estimator.estimate(images):
            k = OBJECTS.index(estimate.name)
            offset = estimate.position - data.positions[i, k]
            error[i, k] = np.linalg.norm(offset)
            inside[i, k] = offset @ np.linalg.solve(estimate.covariance, offset) < CHI2_95
    visible = data.visible.any(axis=1)
    return {"error": error, "inside": inside, "visible": visible, "hidden": ~visible}


def summarise(errors: dict[str, np.ndarray]) -> list[dict[str, float | str]]:
    """Figures for each object and, in the last row, for all."""
    rows: list[dict[str, float | str]] = []
    for k, name in [*enumerate(OBJECTS), (slice(None), "all")]:
        error, visible = errors["error"][:, k], errors["visible"][:, k]
        published = np.isfinite(error)
        seen = error[visible & published] * 1000
        hidden = errors["hidden"][:, k]
        rows.append(
            {
                "object": name,
                "median_mm": float(np.median(seen)) if seen.size else float("nan"),
                "p95_mm": float(np.quantile(seen, 0.95)) if seen.size else float("nan"),
                "published_if_visible": float(published[visible].mean()),
                "published_if_hidden": float(published[hidden].mean()) if hidden.any() else 0.0,
                "inside_95": float(np.nanmean(errors["inside"][:, k][visible & published])),
            }
        )
    return rows


_COLUMNS = {
    "object": "object",
    "median_mm": "median [mm]",
    "p95_mm": "95% [mm]",
    "published_if_visible": "published if visible",
    "published_if_hidden": "published if hidden",
    "inside_95": "inside 95% ellipsoid",
}


def _cell(key: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}" if key.endswith("_mm") else f"{value:.1%}"


def _print(rows: list[dict[str, float | str]]) -> None:
    table = Table(title="Position errors over visible objects")
    for title in _COLUMNS.values():
        table.add_column(title, justify="left" if title == "object" else "right")
    for row in rows:
        table.add_row(*(_cell(key, row[key]) for key in _COLUMNS))
    Console().print(table)


def _markdown(rows: list[dict[str, float | str]]) -> str:
    lines = [" | ".join(_COLUMNS.values()), " | ".join("---" for _ in _COLUMNS)]
    lines += [" | ".join(_cell(key, row[key]) for key in _COLUMNS) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _plot(errors: dict[str, np.ndarray], path: Path) -> None:
    figure = matplotlib.figure.Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    for k, name in enumerate(OBJECTS):
        good = errors["visible"][:, k] & np.isfinite(errors["error"][:, k])
        values = np.sort(errors["error"][good, k]) * 1000
        # there are more objects than colours
        style = "-" if k < 10 else "--"
        axis.plot(values, np.linspace(0, 1, len(values)), style, label=name)
    axis.set(xscale="log", xlim=(0.2, 100), ylim=(0, 1))
    axis.set(xlabel="position error [mm]", ylabel="share of visible objects")
    axis.axhline(0.95, color="grey", linewidth=0.7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)
