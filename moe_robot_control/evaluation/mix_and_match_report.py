"""Results of Mix & Match as Markdown and pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from moe_robot_control.evaluation.mix_and_match_suite import GOAL, METHODS, Result, Trained
from moe_robot_control.evaluation.report import wilson


def success_table(trained: Sequence[Trained], results: Mapping[str, Result]) -> str:
    """Every method of a curriculum: success of the last agent, and steps to the goal."""
    several = any(len(result.successes) > 1 for result in results.values())
    lowest = " lowest skill, each |" if several else ""
    lines = [
        f"| method | trainings | last agent alone: mean, 95% | each |{lowest} "
        f"steps to {GOAL:.0%}, what acts | steps to {GOAL:.0%}, last agent |",
        "|---" * (7 if several else 6) + "|",
    ]
    for method, title in METHODS.items():
        own = [one for one in trained if one.method == method and one.name in results]
        if not own:
            continue
        found = [results[one.name] for one in own]
        won = sum(sum(result.successes.values()) for result in found)
        total = sum(result.episodes * len(result.successes) for result in found)
        low, high = wilson(won, total)
        cells = [
            title,
            str(len(own)),
            f"**{won / total:.1%}** ({low:.0%}-{high:.0%})",
            ", ".join(f"{result.share:.0%}" for result in found),
        ]
        if several:
            cells.append(", ".join(f"{result.lowest:.0%}" for result in found))
        cells += [_steps(own, "mixture"), _steps(own, "last")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _steps(trained: Sequence[Trained], of: str) -> str:
    each = [one.steps_to(of=of) for one in trained]
    text = ", ".join("not reached" if steps is None else f"{steps:,}" for steps in each)
    if None in each or len(each) < 2:
        return text
    return f"**{statistics.median(each):,.0f}** ({text})"


def task_table(trained: Sequence[Trained], results: Mapping[str, Result]) -> str:
    """Success in each task, mean over the trainings; empty for one task."""
    tasks = list(next(iter(results.values())).successes)
    if len(tasks) < 2:
        return ""
    lines = ["| task | " + " | ".join(METHODS.values()) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for task in tasks:
        cells = [task]
        for method in METHODS:
            own = [results[o.name] for o in trained if o.method == method and o.name in results]
            shares = [result.successes[task] / result.episodes for result in own]
            cells.append(f"{statistics.mean(shares):.0%}" if shares else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def draw_curves(path: Path, trained: Sequence[Trained], title: str) -> None:
    """Success of what acts and of the last agent against environment steps, and alpha."""
    figure = matplotlib.figure.Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.subplots(3, sharex=True, height_ratios=[3, 3, 2])
    for method, name in METHODS.items():
        own = [one for one in trained if one.method == method]
        if not own:
            continue
        steps = np.linspace(0.0, min(one.steps[-1] for one in own), 200)
        colour = None
        for axis, of in zip(axes[:2], ("mixture", "last"), strict=True):
            shares = np.stack(
                [np.interp(steps, one.steps, one.success(of).mean(axis=1)) for one in own]
            )
            (line,) = axis.plot(steps, shares.mean(axis=0), label=name, color=colour)
            colour = line.get_color()
            if len(own) > 1:
                axis.fill_between(
                    steps, shares.min(axis=0), shares.max(axis=0), color=colour, alpha=0.15
                )
        if method in ("mix_and_match", "population", "distillation"):
            for one in own:
                positions = [point["position"] for point in one.metrics["curve"]]
                axes[2].plot(one.steps, positions, color=colour, linewidth=1)
    axes[0].set(title=title, ylabel="success of what acts", ylim=(-0.03, 1.03))
    axes[1].set(ylabel="success of the last\nagent alone", ylim=(-0.03, 1.03))
    axes[2].set(ylabel="alpha", xlabel="environment steps", ylim=(-0.03, 1.03))
    for axis in axes:
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=130)


def draw_lineage(path: Path, lineage: Sequence[Mapping[str, Any]], title: str) -> None:
    """Members against intervals: alpha as height, score as colour, copies as arrows."""
    figure = matplotlib.figure.Figure(figsize=(9, 4.5), layout="constrained")
    axis = figure.subplots()
    scores = [event["score"] for event in lineage]
    at = {(event["member"], event["interval"]): event["alpha"] for event in lineage}
    for event in lineage:
        here = event["interval"], event["alpha"]
        following = at.get((event["member"], event["interval"] + 1))
        if following is None:
            continue
        if event["parent"] == event["member"]:
            axis.plot([here[0], here[0] + 1], [here[1], following], color="grey", linewidth=0.8)
        else:
            source = at.get((event["parent"], event["interval"]), here[1])
            axis.annotate(
                "", (here[0] + 1, following), (here[0], source),
                arrowprops={"arrowstyle": "->", "color": "tab:red", "linewidth": 0.9},
            )  # fmt: skip
    intervals, alphas = zip(*((e["interval"], e["alpha"]) for e in lineage), strict=True)
    points = axis.scatter(intervals, alphas, c=scores, cmap="viridis", zorder=3, s=28)
    figure.colorbar(points, label="return")
    axis.set(xlabel="interval", ylabel="alpha", ylim=(-0.05, 1.05), title=title)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def population_table(lineage: Sequence[Mapping[str, Any]]) -> str:
    """Where each member ended."""
    lines = [
        "| member | alpha | learning rate | entropy weight | return | copied others |",
        "|---" * 6 + "|",
    ]
    for member in sorted({event["member"] for event in lineage}):
        own = [event for event in lineage if event["member"] == member]
        last = own[-1]
        copied = sum(event["parent"] != member for event in own)
        lines.append(
            f"| {member} | {last['alpha']:.2f} | {last['learning_rate']:.2g} | "
            f"{last['entropy_weight']:.2g} | {last['score']:.2f} | {copied} of {len(own)} |"
        )
    return "\n".join([*lines, ""])
