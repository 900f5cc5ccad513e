"""Results of AWAC and its rivals as Markdown and pictures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

from moe_robot_control.evaluation.awac_suite import METHODS, CurvePoint, Result, Trained

GOAL = 0.9
"""Success whose cost in online steps is compared."""


def success_table(skill: str, trained: Sequence[Trained], results: Sequence[Result]) -> str:
    """Every method of a skill: offline, at last, on unseen seeds, and what 90% cost."""
    lines = [
        "| method | trainings | offline | on unseen seeds, at last | each | "
        "online steps to 90%, each |",
        "|---" * 6 + "|",
    ]
    for method, title in METHODS.items():
        shares = [r.share for r in results if (r.skill, r.method) == (skill, method)]
        curves = [one.curve for one in trained if (one.skill, one.method) == (skill, method)]
        if shares and curves:
            offline = statistics.mean(curve[0].success for curve in curves)
            each = ", ".join(f"{share:.0%}" for share in shares)
            steps = "; ".join(_steps(curve) for curve in curves)
            lines.append(
                f"| {title} | {len(shares)} | {offline:.1%} | **{statistics.mean(shares):.1%}** "
                f"| {each} | {steps} |"
            )
    return "\n".join([*lines, ""])


def _steps(curve: Sequence[CurvePoint]) -> str:
    reached = steps_to(curve)
    return "not reached" if reached is None else f"{reached:,}"


def steps_to(curve: Sequence[CurvePoint], goal: float = GOAL) -> int | None:
    """Own transitions at the first evaluation that reaches `goal`; None if none does."""
    return next((point.transitions for point in curve if point.success >= goal), None)


def deepest_loss(curve: Sequence[CurvePoint]) -> float:
    """How far the acting policy was at most below the offline one: a share, 0 if never."""
    return max(0.0, *(curve[0].acting - point.acting for point in curve))


def training_table(trained: Sequence[Trained]) -> str:
    """Every training of a skill: offline success, its cost, and whether it ever fell behind."""
    lines = [
        "| method | seed | through | offline | last | worst below offline, evaluated | "
        "acting, after roll-back | online steps | steps to 90% |",
        "|---" * 9 + "|",
    ]
    for one in trained:
        curve = one.curve
        last = curve[-1]
        evaluated = max(0.0, *(curve[0].success - point.success for point in curve))
        cells = [
            METHODS[one.method],
            str(one.seed),
            one.through,
            f"{curve[0].success:.0%}",
            f"{last.acting:.0%}",
            f"{100 * evaluated:.0f} points",
            f"{100 * deepest_loss(curve):.0f} points",
            f"{last.transitions:,}",
            _steps(curve),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def draw_curves(path: Path, trained: Sequence[Trained], title: str) -> None:
    """Success against robot minutes; bands from the least to the best seed."""
    figure = matplotlib.figure.Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    longest = max(one.curve[-1].minutes for one in trained)
    # a method has the same colour in all pictures
    for index, (method, name) in enumerate(METHODS.items()):
        curves = [one.curve for one in trained if one.method == method]
        if not curves:
            continue
        if all(len(curve) == 1 for curve in curves):  # nothing online
            share = statistics.mean(curve[0].acting for curve in curves)
            axis.axhline(share, linestyle=":", color="grey", label=name)
            continue
        shared = min(curve[-1].minutes for curve in curves)
        minutes = np.linspace(0.0, shared, 100)
        shares = np.stack(
            [
                np.interp(minutes, [p.minutes for p in curve], [p.acting for p in curve])
                for curve in curves
            ]
        )
        width = 2.5 if method == "awac" else 1.2
        color = f"C{index}"
        axis.plot(minutes, shares.mean(axis=0), color=color, label=name, linewidth=width)
        if len(curves) > 1:
            low, high = shares.min(axis=0), shares.max(axis=0)
            axis.fill_between(minutes, low, high, color=color, alpha=0.15)
    axis.set(
        xlabel="robot time in own episodes [min]",
        ylabel="success",
        xlim=(0.0, max(longest, 1e-3)),
        ylim=(-0.03, 1.03),
        title=title,
    )
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=130)
