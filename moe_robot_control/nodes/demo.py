"""`moe-robot-control demo`: the whole job from camera images, with a table, a film and a plot."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.film import Film, plot_weights
from moe_robot_control.evaluation.report import print_table, summarise, task_name, write_json
from moe_robot_control.graph import GraphOptions, folder_option
from moe_robot_control.nodes.episode_runner import EpisodeResult, EpisodeRunner, TickRecord
from moe_robot_control.perception.camera import Camera, CameraExtrinsics, CameraIntrinsics
from moe_robot_control.policies.spaces import NUM_SCENARIOS, SKILLS, check_skill
from moe_robot_control.world.scene import FIELD_OF_VIEW
from moe_robot_control.world.tasks import check_scenario

CAMERA = "left"
TITLE = "Over the graph, from camera images"


class DemoError(MoeRobotControlError):
    """An option that makes no sense."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    add_episode_arguments(parser)
    parser.add_argument("--policy", default="", help="one network for all skills, by its name")
    parser.add_argument("--models", type=Path, help="folder of the policies; the package's own")
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
    models = folder_option(args.models)
    options = GraphOptions(headless=not args.viewer, policy=args.policy, model_directory=models)
    results = run_episodes(args, console, None if args.no_film else args.out, options)
    rows = summarise(results)
    print_table(rows, TITLE, console)
    if args.json is not None:
        write_json(args.json, rows, results)
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
        options: of the graph; where one skill alone is asked for, it has its expert alone.
    """
    if args.episodes < 1:
        raise DemoError(f"--episodes must be 1 or more, not {args.episodes}")
    if args.seed < 0:
        raise DemoError(f"--seed must be 0 or more, not {args.seed}")
    tasks: list[dict[str, Any]] = [{"skill": check_skill(skill)} for skill in args.skill or []]
    tasks += [{"scenario": check_scenario(number)} for number in args.scenario or []]
    if not tasks:
        tasks = [{"scenario": number} for number in range(1, NUM_SCENARIOS + 1)]
    skills = {task.get("skill") for task in tasks}
    if len(skills) == 1 and None not in skills:
        # one skill alone needs no other expert's model
        options = replace(options, skill=tasks[0]["skill"])
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
            name = task_name(episode.get("scenario"), episode.get("skill"))
            bar = progress.add_task(f"{name}, seed {episode['seed']}", total=None)

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
                    f"{name}, seed {result.seed}: {result.state} after "
                    f"{result.time:.1f} s, {result.stages_done}/{result.stages_total} skills"
                )
    if keeper is not None:
        keeper.finish()
    return results


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
        title = task_name(result.scenario, result.skill)
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
