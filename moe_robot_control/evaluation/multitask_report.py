"""Multi-task results as Markdown and pictures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

from moe_robot_control.evaluation.multitask_suite import METHODS, TaskResult, Trained

PUBLISHED_STEPS = 15_000_000
"""Of all tasks together, after which the following were measured."""
PUBLISHED: dict[str, tuple[float, float]] = {
    "soft_modular": (0.72, 0.87),
    "multi_task": (0.43, 0.44),
    "multi_head": (0.67, 0.85),
    "mixture_of_experts": (0.40, 0.43),
    "hard_routing": (0.27, 0.21),
}
"""Success on MT10 with varying and with fixed goals (Yang et al. 2020, arXiv 2003.13661)."""
TITLES = {"bench": "The seven skills", "mt10": "Meta-World MT10 (goals vary and are observed)"}


def methods_of(suite: str, results: Sequence[TaskResult]) -> list[str]:
    """Methods with results in a suite, in the order of `METHODS`."""
    present = {result.method for result in results if result.suite == suite}
    return [method for method in METHODS if method in present]


def means(suite: str, method: str, results: Sequence[TaskResult]) -> dict[int, float]:
    """Mean success over the tasks, by seed of the training."""
    own = [result for result in results if (result.suite, result.method) == (suite, method)]
    seeds = sorted({result.seed for result in own})
    return {
        seed: statistics.mean(result.share for result in own if result.seed == seed)
        for seed in seeds
    }


def success_table(suite: str, results: Sequence[TaskResult]) -> str:
    """Success by method: the mean over tasks with its spread over seeds, then each task's."""
    own = [result for result in results if result.suite == suite]
    tasks = list(dict.fromkeys(result.task for result in own))
    lines = [
        "| method | seeds | mean (each seed) | " + " | ".join(tasks) + " |",
        "|---" * (len(tasks) + 3) + "|",
    ]
    for method in methods_of(suite, results):
        by_seed = means(suite, method, results)
        each = ", ".join(f"{share:.1%}" for share in by_seed.values())
        cells = []
        for task in tasks:
            shares = [r.share for r in own if (r.method, r.task) == (method, task)]
            cells.append(f"{statistics.mean(shares):.0%}" if shares else "")
        mean = statistics.mean(by_seed.values())
        cells = [METHODS[method], str(len(by_seed)), f"**{mean:.1%}** ({each})", *cells]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def training_table(trained: Sequence[Trained]) -> str:
    """Steps, minutes and size of every method's networks: actors, as deployed."""
    lines = [
        "| method | environment steps | minutes (each seed) | parameters of the policy |",
        "|---|---|---|---|",
    ]
    for method in dict.fromkeys(one.method for one in trained):
        same = [one for one in trained if one.method == method]
        own = [one.metrics() for one in same]
        steps = same[0].environment_steps
        minutes = ", ".join(f"{sum(p['seconds'] for p in parts) / 60:.0f}" for parts in own)
        parameters = sum(part["parameters"] for part in own[0])
        lines.append(f"| {METHODS[method]} | {steps:,} | {minutes} | {parameters:,} |")
    return "\n".join([*lines, ""])


def published_table(results: Sequence[TaskResult], steps: int) -> str:
    """Mean success on MT10 beside published figures, and how the budgets differ.

    Args:
        results: of all suites.
        steps: that each training took here, of all tasks together.
    """
    lines = [
        f"Published figures are after {PUBLISHED_STEPS:,} environment steps, "
        f"{PUBLISHED_STEPS / steps:.3g} times as many as here, with larger networks, on an earlier "
        "version of the tasks and their rewards: order may be compared, figures may not. Success "
        "here is that an episode succeeded at any of its steps.",
        "",
        f"| method | here, {steps:,} steps | published, goals vary | published, goals fixed |",
        "|---" * 4 + "|",
    ]
    for method in methods_of("mt10", results):
        mean = statistics.mean(means("mt10", method, results).values())
        cells = (
            [f"{share:.0%}" for share in PUBLISHED[method]] if method in PUBLISHED else ["-"] * 2
        )
        lines.append("| " + " | ".join([METHODS[method], f"{mean:.1%}", *cells]) + " |")
    return "\n".join([*lines, ""])


def draw_curves(path: Path, trained: Sequence[Trained], title: str) -> None:
    """Mean success in the trainings' own evaluations; bands from the least to the best seed."""
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for method in dict.fromkeys(one.method for one in trained):
        curves = [curve_of(one) for one in trained if one.method == method]
        length = min(len(curve) for curve in curves)
        steps = curves[0][:length, 0]
        shares = np.stack([curve[:length, 1] for curve in curves])
        (line,) = axis.plot(
            steps / 1000,
            shares.mean(axis=0),
            label=METHODS[method],
            linewidth=2.5 if method == "soft_modular" else 1.2,
        )
        if len(curves) > 1:
            axis.fill_between(
                steps / 1000,
                shares.min(axis=0),
                shares.max(axis=0),
                color=line.get_color(),
                alpha=0.15,
            )
    axis.set(
        xlabel="environment steps of all tasks / 1000",
        ylabel="mean success",
        ylim=(-0.03, 1.03),
        title=title,
    )
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=130)


def curve_of(trained: Trained) -> np.ndarray:
    """Environment steps of all tasks, and the mean success then. Shape (evaluations, 2)."""
    parts = [metrics["curve"] for metrics in trained.metrics()]
    length = min(map(len, parts))
    # networks of one task each are evaluated at the same steps
    return np.array(
        [
            (
                sum(part[i][0] for part in parts),
                float(np.mean([share for part in parts for share in part[i][1]])),
            )
            for i in range(length)
        ]
    )
