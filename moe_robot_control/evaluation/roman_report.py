"""ROMAN's results as CSV, Markdown and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure

from moe_robot_control.evaluation.csv_files import read_csv, write_csv
from moe_robot_control.evaluation.roman_suite import METHODS, SECTIONS, Experiment, Result

COLUMNS = (
    "section", "method", "condition", "task", "success", "episodes", "asked", "seed",
    "share", "low", "high", "time", "stopped_at", "models",
)  # fmt: skip
TITLES = {
    "skills": "Each expert alone, unseen resets",
    "scenarios": "Scenarios",
    "noise": "Noise of every look at every object",
    "proprioception": "Noise of the end effector's position (the opening's is a fifth of it)",
    "disturbances": "One disturbance in every episode",
    "camera": "Camera in the loop, through rendered images and perception",
    "baselines": "Rivals and ablations",
    "baselines disturbed": "Rivals and ablations, one disturbance in every episode",
    "baselines noise": "Rivals and ablations, noise of 20 mm",
}

COLOURS = {
    method: "black" if method == "roman" else matplotlib.colormaps["tab20"](index)
    for index, method in enumerate(METHODS)
}
"""The same in every picture."""
EXPLANATIONS = {
    "disturbances": "Of the episodes in which it happened.",
    "camera": "The environment renders both cameras, the pose network and the tracker find the "
    "objects; no errors are added.",
    "baselines": "The *oracle* weighs ROMAN's experts by the true stage, the *hard gate* keeps "
    "only ROMAN's largest weight, the *sparse gate* is a noisy top-2 network over ROMAN's "
    "experts. All others learned experts and gate anew from the same demonstrations with as many "
    "environment steps (*BC only*: none); the *monolithic* network has as many parameters as "
    "experts and gate together.",
}


def row_of(result: Result, models: str) -> dict[str, str]:
    """A line of the CSV file; `models` is the hash of the policies that were measured."""
    experiment = result.experiment
    low, high = result.interval
    values = (
        experiment.section,
        experiment.method,
        experiment.condition,
        experiment.task,
        result.success,
        result.episodes,
        experiment.episodes,
        experiment.seed,
        f"{result.share:.4f}",
        f"{low:.4f}",
        f"{high:.4f}",
        "" if result.time is None else result.time,
        "; ".join(f"{skill} {count}" for skill, count in result.stopped_at.items()),
        models,
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file; none if there is no file."""
    return read_csv(path)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the CSV file, replacing it at once."""
    write_csv(path, COLUMNS, rows)


def key_of(experiment: Experiment) -> tuple[str, ...]:
    """What one experiment differs by from all others."""
    return experiment.section, experiment.method, experiment.condition, experiment.task


def row_key(row: dict[str, str]) -> tuple[str, ...]:
    """`key_of` the experiment of a line."""
    return row["section"], row["method"], row["condition"], row["task"]


def same(row: dict[str, str], experiment: Experiment, models: str) -> bool:
    """Whether a line is of this experiment with these policies."""
    return (
        row_key(row) == key_of(experiment)
        and row["asked"] == str(experiment.episodes)
        and row["seed"] == str(experiment.seed)
        and row["models"] == models
    )


def tables(rows: Sequence[dict[str, str]]) -> str:
    """One Markdown table a section: methods or conditions against tasks."""
    parts = []
    for section in SECTIONS:
        lines = [row for row in rows if row["section"] == section]
        if not lines:
            continue
        by_condition = len({row["condition"] for row in lines}) > 1
        tasks = list(dict.fromkeys(row["task"] for row in lines))
        heads = [task if section == "skills" else f"scenario {task}" for task in tasks]
        labels = list(dict.fromkeys(_label(row, by_condition) for row in lines))
        parts.append(f"## {TITLES[section]}\n")
        if section in EXPLANATIONS:
            parts.append(f"{EXPLANATIONS[section]}\n")
        parts.append("| | " + " | ".join(heads) + " |")
        parts.append("|---" * (len(tasks) + 1) + "|")
        for label in labels:
            cells = {row["task"]: cell(row) for row in lines if _label(row, by_condition) == label}
            parts.append(f"| {label} | " + " | ".join(cells.get(task, "") for task in tasks) + " |")
        parts.append("")
    return "\n".join(parts)


def cell(row: dict[str, str]) -> str:
    """`97/100 (92-99%)`: successes, and Wilson's 95% interval."""
    if row["episodes"] == "0":
        return "-"
    low, high = float(row["low"]), float(row["high"])
    return f"{row['success']}/{row['episodes']} ({low:.0%}-{high:.0%})".replace("%-", "-")


def training_table(own: dict[str, dict], rivals: dict[str, dict[str, dict]]) -> str:
    """Steps, time and size of each of ROMAN's networks, then of every rival as a whole.

    Args:
        own: metrics of a manifest for each network.
        rivals: the same for each rival by its name; rivals without are left out.
    """

    def line(name: str, parts: Sequence[dict]) -> str:
        steps, seconds, parameters = (
            sum(part[key] for part in parts)
            for key in ("environment_steps", "seconds", "parameters")
        )
        return f"| {name} | {steps:,} | {seconds / 60:.1f} | {parameters:,} |"

    return "\n".join(
        [
            "## Training",
            "",
            "Minutes are each network's own; two learn side by side (`--jobs 2`).",
            "",
            "| network | environment steps | minutes | parameters |",
            "|---|---|---|---|",
            *(line(name, [metrics]) for name, metrics in own.items()),
            line("**ROMAN**", list(own.values())),
            *(line(name, list(parts.values())) for name, parts in rivals.items() if parts),
            "",
        ]
    )


def draw_methods(path: Path, rows: Sequence[dict[str, str]], section: str) -> None:
    """Success of every method against the scenario, with intervals."""
    lines = [row for row in rows if row["section"] == section]
    if not lines:
        return
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    present = [method for method in METHODS if any(row["method"] == method for row in lines)]
    for index, method in enumerate(present):
        own = [row for row in lines if row["method"] == method]
        shift = 0.06 * (index - len(present) / 2)
        _curve(
            axis,
            [int(row["task"]) + shift for row in own],
            own,
            METHODS[method],
            "o" if method in ("roman", "oracle") else "s",
            colour=COLOURS[method],
            width=2.5 if method == "roman" else 1.2,
        )
    axis.set(xlabel="scenario", ylabel="success", ylim=(-0.03, 1.03), title=TITLES[section])
    axis.set_xticks(sorted({int(row["task"]) for row in lines}))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=130)


def draw_noise(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Success against the noise of positions, one curve a scenario."""
    lines = [row for row in rows if row["section"] == "noise"]
    if not lines:
        return
    figure = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for task in dict.fromkeys(row["task"] for row in lines):
        own = [row for row in lines if row["task"] == task]
        places = [float(row["condition"].split()[0]) for row in own]
        _curve(axis, places, own, f"scenario {task}", "o")
    axis.set(xlabel="noise of every look [mm]", ylabel="success", ylim=(-0.03, 1.03))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=130)


def draw_learning(path: Path, curves: dict[str, Sequence[Sequence[float]]]) -> None:
    """Validated success against environment steps, one panel a network."""
    if not curves:
        return
    columns = 4
    height = -(-len(curves) // columns)
    figure = matplotlib.figure.Figure(figsize=(11, 2.4 * height), layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False, sharey=True).ravel()
    for axis, (name, curve) in zip(axes, curves.items(), strict=False):
        axis.plot([steps / 1000 for steps, _ in curve], [share for _, share in curve], "o-")
        axis.set(title=name, xlabel="environment steps / 1000", ylim=(-0.03, 1.03))
        axis.grid(alpha=0.3)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=130)


def _curve(
    axis: matplotlib.axes.Axes,
    places: Sequence[float],
    rows: Sequence[dict[str, str]],
    label: str,
    marker: str,
    colour: Any = None,
    width: float = 1.5,
) -> None:
    shares = [float(row["share"]) for row in rows]
    low = [share - float(row["low"]) for share, row in zip(shares, rows, strict=True)]
    high = [float(row["high"]) - share for share, row in zip(shares, rows, strict=True)]
    axis.errorbar(
        places, shares, yerr=[low, high], label=label, marker=marker, markersize=4,
        capsize=2, linewidth=width, elinewidth=0.8, color=colour,
    )  # fmt: skip


def _label(row: dict[str, str], by_condition: bool) -> str:
    return row["condition"] if by_condition else METHODS[row["method"]]
