"""Success over episodes as a table, JSON, Markdown and a picture."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import matplotlib.figure
from rich.console import Console
from rich.table import Table

from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.manifest import describe_run
from moe_robot_control.policies.spaces import SKILLS


@dataclass(frozen=True)
class Row:
    """All episodes of one scenario or skill.

    Attributes:
        task: `scenario 3`, or the skill's name.
        seeds: first and last.
        success, episodes: how many succeeded, out of how many.
        interval: Wilson's 95% interval of the share.
        skills_done, skills_total: mean number of skills done, and asked for.
        time: mean simulated time of the successes [s]; None without any.
        stopped_at: how many of the others ended at which skill.
    """

    task: str
    seeds: tuple[int, int]
    success: int
    episodes: int
    interval: tuple[float, float]
    skills_done: float
    skills_total: int
    time: float | None
    stopped_at: dict[str, int]


def task_name(scenario: int | None, skill: str | None) -> str:
    """`scenario 3`, or the skill's name."""
    return skill or f"scenario {scenario}"


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson 1927)."""
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = (centre - half) / scale, (centre + half) / scale
    # at 0 and 1 rounding would leave the share itself out
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def summarise(episodes: Sequence[Outcome]) -> list[Row]:
    """One row for each scenario or skill, in the order of their first episodes."""
    groups: dict[str, list[Outcome]] = {}
    for episode in episodes:
        groups.setdefault(task_name(episode.scenario, episode.skill), []).append(episode)
    rows = []
    for task, group in groups.items():
        times = [episode.time for episode in group if episode.success]
        stopped = Counter(stopped_at(episode) for episode in group if not episode.success)
        seeds = [episode.seed for episode in group]
        rows.append(
            Row(
                task=task,
                seeds=(min(seeds), max(seeds)),
                success=len(times),
                episodes=len(group),
                interval=wilson(len(times), len(group)),
                skills_done=statistics.mean(episode.stages_done for episode in group),
                skills_total=group[0].stages_total,
                time=statistics.mean(times) if times else None,
                stopped_at=dict(stopped.most_common()),
            )
        )
    return rows


def print_table(rows: Sequence[Row], title: str, console: Console) -> None:
    """Show the rows."""
    table = Table(title=title)
    for column in _COLUMNS:
        name = column == "task"
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def write_json(path: Path, rows: Sequence[Row], episodes: Sequence[Outcome]) -> None:
    """Write `summary` (the rows) and `episodes` (each without its recording)."""
    keys = [field.name for field in fields(Outcome)]
    content = {
        "summary": [asdict(row) for row in rows],
        "episodes": [{key: getattr(episode, key) for key in keys} for episode in episodes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_page(folder: Path, rows: Sequence[Row], title: str, command: str) -> None:
    """Write `README.md` with the table and the command that made it, and `success.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" | ".join(_COLUMNS), " | ".join("---" for _ in _COLUMNS)]
    lines += [" | ".join(_cells(row)) for row in rows]
    table = "".join(f"| {line} |\n" for line in lines)
    text = f"# {title}\n\n`{command}`\n\n{table}\n![success](success.png)\n"
    (folder / "README.md").write_text(text)
    figure = matplotlib.figure.Figure(figsize=(7, 1.0 + 0.32 * len(rows)), layout="constrained")
    axis = figure.subplots()
    shares = [row.success / row.episodes for row in rows]
    low = [share - row.interval[0] for share, row in zip(shares, rows, strict=True)]
    high = [row.interval[1] - share for share, row in zip(shares, rows, strict=True)]
    places = range(len(rows))
    axis.barh(places, shares, color="#4c78a8")
    axis.errorbar(
        shares, places, xerr=[low, high], fmt="none", ecolor="black", elinewidth=1, capsize=3
    )
    axis.set_yticks(places, [row.task for row in rows])
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.02), xlabel="success, with Wilson's 95% interval", title=title)
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(folder / "success.png", dpi=130)


_COLUMNS = ("task", "seeds", "success", "95% interval", "skills done", "time [s]", "stopped at")


def _cells(row: Row) -> list[str]:
    first, last = row.seeds
    low, high = row.interval
    return [
        row.task,
        str(first) if first == last else f"{first}-{last}",
        f"{row.success}/{row.episodes}",
        f"{low:.0%}-{high:.0%}",
        f"{row.skills_done:.1f}/{row.skills_total}",
        "-" if row.time is None else f"{row.time:.1f}",
        ", ".join(f"{skill} {count}" for skill, count in row.stopped_at.items()),
    ]


def stopped_at(episode: Outcome) -> str:
    """The skill that was next when a failed episode ended."""
    if episode.skill is not None:
        return episode.skill
    start = len(SKILLS) - episode.stages_total
    return SKILLS[min(start + episode.stages_done, len(SKILLS) - 1)]


def finish_report(folder: Path, text: Sequence[str], command: str, rows: int) -> str:
    """Write a report's page, which ends with the folder's `notes.md`, and its manifest.

    Args:
        folder: of `README.md` and `manifest.json`.
        text: lines of Markdown.
        command: that made it.
        rows: how many results it shows.

    Returns:
        The page.
    """
    notes = folder / "notes.md"
    own = [notes.read_text().strip()] if notes.is_file() else []
    page = "\n".join([*text, *own]) + "\n"
    (folder / "README.md").write_text(page)
    about = describe_run(command) | {"rows": rows}
    (folder / "manifest.json").write_text(json.dumps(about, indent=2) + "\n")
    return page
