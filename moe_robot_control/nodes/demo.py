"""`moe-robot-control demo`: the whole job from camera images, with a table, a film and a plot."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.film import Film, plot_weights
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.episode_runner import EpisodeResult, EpisodeRunner, TickRecord
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.world.scene import FIELD_OF_VIEW
from moe_robot_control.world.tasks import check_scenario

CAMERA = "left"


class DemoError(MoeRobotControlError):
    """An option that makes no sense."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    add_episode_arguments(parser)
    parser.add_argument("--viewer", action="store_true", help="open MuJoCo's viewer")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of film and plot")
    parser.add_argument("--no-film", action="store_true", help="table only")


def add_episode_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say which episodes to run."""
    parser.add_argument("--scenario", type=int, action="append", help="1 to 7; all by default")
    parser.add_argument("--skill", action="append", help="one skill with its expert alone")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode of each")
    parser.add_argument("--episodes", type=int, default=1, help="of each scenario or skill")
    parser.add_argument("--json", type=Path, help="also write the results there")


def run(args: argparse.Namespace) -> int:
    """Run the episodes; 0 if more than half of them succeeded."""
    console = Console()
    options = GraphOptions(headless=not args.viewer)
    results = run_episodes(args, console, None if args.no_film else args.out, options)
    report(results, console, args.json)
    if not args.no_film:
        console.print(f"film {args.out / 'demo.mp4'}, plot {args.out / 'weights.png'}")
    succeeded = sum(result.success for result in results)
    if succeeded * 2 <= len(results):
        console.print(f"[red]{succeeded} of {len(results)} episodes succeeded[/red]")
        return 1
    return 0


def run_episodes(
    args: argparse.Namespace, console: Console, out: Path | None, options: GraphOptions
) -> list[EpisodeResult]:
    """Run what `add_episode_arguments` asks for in one graph.

    Args:
        args: parsed options.
        console: for the progress.
        out: folder for the film and the plot; None makes neither.
        options: of the graph.
    """
    if args.episodes < 1:
        raise DemoError(f"--episodes must be 1 or more, not {args.episodes}")
    if args.seed < 0:
        raise DemoError(f"--seed must be 0 or more, not {args.seed}")
    tasks: list[dict[str, Any]] = [{"skill": check_skill(skill)} for skill in args.skill or []]
    tasks += [{"scenario": check_scenario(number)} for number in args.scenario or []]
    if not tasks:
        tasks = [{"scenario": number} for number in range(1, NUM_SCENARIOS + 1)]
    episodes = [task | {"seed": args.seed + i} for task in tasks for i in range(args.episodes)]
    keeper = _Keeper(out) if out is not None else None
    results = []
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} skills"),
        TimeElapsedColumn(),
        console=console,
    )
    with progress, EpisodeRunner(options) as runner:
        for episode in episodes:
            bar = progress.add_task(f"{name_of(episode)}, seed {episode['seed']}", total=None)

            def show(status: dict[str, Any], bar: Any = bar) -> None:
                progress.update(bar, completed=status["stages_done"], total=status["stages_total"])

            # one film of each task is enough
            record = keeper is not None and episode["seed"] == args.seed
            result = runner.run(**episode, record=CAMERA if record else None, on_progress=show)
            progress.update(
                bar, completed=result.stages_done, total=result.stages_total, visible=True
            )
            if keeper is not None and record:
                keeper.keep(result)
            results.append(result)
            progress.stop_task(bar)
            if not console.is_terminal:  # where bars are not drawn
                console.print(
                    f"{name_of(episode)}, seed {result.seed}: {result.state} after "
                    f"{result.time:.1f} s, {result.stages_done}/{result.stages_total} skills"
                )
    if keeper is not None:
        keeper.finish()
    return results


def name_of(task: dict[str, Any]) -> str:
    """`scenario 3`, or the skill's name."""
    return task["skill"] if task.get("skill") else f"scenario {task['scenario']}"


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson 1927)."""
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def report(results: list[EpisodeResult], console: Console, json_file: Path | None) -> None:
    """Print the table of success by scenario or skill, and write it as JSON."""
    groups: dict[str, list[EpisodeResult]] = {}
    for result in results:
        key = name_of({"skill": result.skill, "scenario": result.scenario})
        groups.setdefault(key, []).append(result)
    table = Table(title="Over the graph, from camera images")
    for column in ("task", "seeds", "success", "95% interval", "skills done", "time [s]"):
        table.add_column(column, justify="left" if column == "task" else "right")
    rows = []
    for key, group in groups.items():
        good = [result for result in group if result.success]
        low, high = wilson(len(good), len(group))
        seeds = sorted(result.seed for result in group)
        done = statistics.mean(result.stages_done for result in group)
        time = statistics.mean(result.time for result in good) if good else math.nan
        table.add_row(
            key,
            str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]}-{seeds[-1]}",
            f"{len(good)}/{len(group)}",
            f"{low:.0%}-{high:.0%}",
            f"{done:.1f}/{group[0].stages_total}",
            f"{time:.1f}",
        )
        rows.append({"task": key, "success": len(good), "episodes": len(group)})
        rows[-1] |= {"interval": [low, high], "time": None if math.isnan(time) else time}
    console.print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        episodes = [
            {
                key: value
                for key, value in asdict(replace(result, ticks=())).items()
                if key != "ticks"
            }
            for result in results
        ]
        json_file.write_text(json.dumps({"summary": rows, "episodes": episodes}, indent=2) + "\n")


class _Keeper:
    """Writes the film as episodes come in, and the plot at the end."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        mount = ArmConfig.load().cameras[CAMERA]
        extrinsics = CameraExtrinsics.from_quaternion(mount.position, mount.orientation)
        intrinsics = CameraIntrinsics.from_field_of_view(np.deg2rad(FIELD_OF_VIEW), 256, 256)
        self._out = out
        self._film = Film(out / "demo.mp4", Camera(intrinsics, extrinsics))
        self._runs: list[tuple[str, np.ndarray, np.ndarray]] = []

    def keep(self, result: EpisodeResult) -> None:
        title = name_of({"skill": result.skill, "scenario": result.scenario})
        title = f"{title}, seed {result.seed}"
        ticks = [tick for tick in result.ticks if tick.image is not None]
        frame = None
        for index, tick in enumerate(ticks):
            frame = self._film.add(tick.image, tick.objects, tick.weights, title, tick.time)
            if index == len(ticks) // 2:
                picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(self._out / "demo.png"), picture)
        decided = [tick for tick in result.ticks if tick.weights]
        if decided:
            times, weights = _history(decided)
            self._runs.append((f"{title}: {result.state}", times, weights))

    def finish(self) -> None:
        self._film.__exit__()
        if self._runs:
            plot_weights(self._out / "weights.png", self._runs)


def _history(ticks: Iterable[TickRecord]) -> tuple[np.ndarray, np.ndarray]:
    ticks = list(ticks)
    times = np.array([tick.time for tick in ticks])
    weights = np.array([[tick.weights.get(skill, 0.0) for skill in SKILLS] for tick in ticks])
    return times, weights
