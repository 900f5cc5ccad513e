"""`moe-robot-control demos`: check, show, replay, repair, merge, split and convert episodes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from moe_robot_control.demonstrations.bag import EpisodeError, read_bag
from moe_robot_control.demonstrations.checks import EpisodeReport, check_set, label_of
from moe_robot_control.demonstrations.episode import episode_files
from moe_robot_control.demonstrations.repair import repair_episode
from moe_robot_control.demonstrations.sets import cut_recording, merge_sets, split_set
from moe_robot_control.demonstrations.statistics import ACTIONS, SetStatistics, statistics_of

DEFAULT = Path("data/recordings")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demos`."""
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    check = _add(commands, "check", _check, "are episodes whole, plausible and told only once?")
    _sets(check)
    check.add_argument("--json", type=Path, metavar="FILE", help="write the reports as JSON")
    show = _add(commands, "show", _show, "statistics and pictures of data sets or one episode")
    _sets(show)
    show.add_argument("--output", type=Path, default=Path("out/demos"), metavar="FOLDER")
    replay = _add(commands, "replay", _replay, "do recorded commands again in the simulation")
    _sets(replay)
    repair = _add(commands, "repair", _repair, "keep what is whole in damaged and cut-off episodes")
    _sets(repair)
    repair.add_argument("--force", action="store_true", help="even if written to just now")
    merge = _add(commands, "merge", _merge, "copy data sets into one, each episode once")
    merge.add_argument("sources", type=Path, nargs="+", metavar="FOLDER")
    merge.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    split = _add(commands, "split", _split, "split a data set for validation, or cut a recording")
    split.add_argument("source", type=Path, metavar="FOLDER")
    split.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    how = split.add_mutually_exclusive_group(required=True)
    how.add_argument("--fraction", type=float, help="of each skill's episodes for validation")
    how.add_argument(
        "--at", type=float, nargs="*", metavar="SECONDS",
        help="cut one recording there; without seconds: where its time is set back",
    )  # fmt: skip
    split.add_argument("--seed", type=int, default=0, help="chooses the validation episodes")
    convert = _add(commands, "convert", _convert, "write a data set in another format")
    convert.add_argument("sources", type=Path, nargs="+", metavar="FOLDER")
    convert.add_argument("--to", choices=("lerobot", "robomimic"), required=True)
    convert.add_argument(
        "--output", type=Path, required=True, metavar="PATH",
        help="a folder for lerobot, an HDF5 file for robomimic",
    )  # fmt: skip
    convert.add_argument("--no-images", action="store_true", help="leave the cameras out")
    convert.add_argument("--successful", action="store_true", help="leave failures out")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    return args.do(args)


def _add(
    commands: argparse._SubParsersAction,
    name: str,
    do: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}")
    parser.set_defaults(do=do)
    return parser


def _sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", type=Path, nargs="*", default=[DEFAULT], metavar="FOLDER",
        help=f"of data sets, or single episodes ({DEFAULT})",
    )  # fmt: skip


def _check(args: argparse.Namespace) -> int:
    reports = check_set(args.folders)
    for report in reports:
        told = report.metadata
        steps = "" if report.episode is None else f"{len(report.episode)} steps"
        success = {"true": "success", "false": "failure"}.get(told.get("success", "").lower(), "")
        facts = ", ".join(filter(None, (label_of(told), steps, success)))
        verdict = "ERROR" if report.errors else "odd  " if report.findings else "ok   "
        print(f"{verdict} {report.path.parent}: {facts}")
        for finding in report.findings:
            print(f"        {finding.level}: {finding.text}")
    bad = sum(report.errors > 0 for report in reports)
    odd = sum(not report.errors and bool(report.findings) for report in reports)
    print(f"{len(reports)} episodes: {len(reports) - bad - odd} ok, {odd} odd, {bad} with errors")
    if args.json is not None:
        _write(args.json, json.dumps([_as_json(report) for report in reports], indent=1))
    return 1 if bad else 0


def _as_json(report: EpisodeReport) -> dict[str, object]:
    return {
        "path": str(report.path),
        "metadata": report.metadata,
        "steps": None if report.episode is None else len(report.episode),
        "rates": {topic: round(rate, 2) for topic, rate in report.rates.items()},
        "findings": [{"level": each.level, "text": each.text} for each in report.findings],
    }


def _show(args: argparse.Namespace) -> int:
    from moe_robot_control.demonstrations import pictures  # matplotlib takes a second

    reports = check_set(args.folders)
    readable = [report for report in reports if report.episode is not None]
    if not readable:
        raise EpisodeError(f"{reports[0].path}: {reports[0].findings[0].text}")
    _print_statistics(statistics_of(readable))
    if len(reports) == 1:
        _print_episode(reports[0])
    unreadable = len(reports) - len(readable)
    if unreadable:
        print(f"{unreadable} episodes cannot be read: `demos check` tells why")
    output = args.output
    try:
        output.mkdir(parents=True, exist_ok=True)
        pictures.draw_trajectories(readable, output / "trajectories.png")
        pictures.draw_actions(readable, output / "actions.png")
        sheet = pictures.draw_contact_sheet(readable, output / "contact_sheet.jpg")
        if len(readable) == 1:
            pictures.draw_timeline(readable[0], output / "timeline.png")
    except OSError as error:
        raise EpisodeError(f"{output}: cannot be written: {error.strerror}") from error
    more = ", timeline.png" if len(readable) == 1 else ""
    seen = f", contact_sheet.jpg ({sheet} episodes)" if sheet else "; no episode has images"
    print(f"{output}: trajectories.png, actions.png{more}{seen}")
    return 0


def _print_statistics(found: dict[str, SetStatistics]) -> None:
    table = Table("", "episodes", "success", "failure", "steps", "seconds", "by operator", *ACTIONS)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, of in found.items():
        actions = [f"{mean:.3f} ± {std:.3f}" for mean, std in zip(of.mean, of.std, strict=True)]
        table.add_row(
            label,
            str(of.episodes),
            str(of.successes),
            str(of.failures),
            str(of.steps),
            f"{of.shortest:.1f} to {of.longest:.1f}",
            "" if isnan(of.operator) else f"{of.operator:.0%}",
            *actions,
        )
    # not cut to the width of a terminal that is none
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _print_episode(report: EpisodeReport) -> None:
    for key, value in report.metadata.items():
        print(f"{key}: {value}")
    for topic, rate in sorted(report.rates.items()):
        print(f"  {rate:7.1f} Hz  {topic}")
    for finding in report.findings:
        print(f"{finding.level}: {finding.text}")


def _repair(args: argparse.Namespace) -> int:
    files = _files(args.folders)
    repaired = hopeless = 0
    for path in files:
        try:
            done = repair_episode(path, args.force)
        except EpisodeError as error:
            print(f"left as it is: {error}")
            hopeless += 1
            continue
        if done.original is not None:
            repaired += 1
            print(f"{path}: {done.messages} messages kept; {'; '.join(done.damage)}")
            print(f"        the original is {done.original.name}")
    print(f"{len(files)} episodes: {repaired} repaired, {hopeless} not, the others are whole")
    return 1 if hopeless else 0


def _merge(args: argparse.Namespace) -> int:
    merge = merge_sets(args.sources, args.output)
    for path, same in merge.duplicates:
        print(f"left out: {path.parent} is the same as {same.parent}")
    print(f"{args.output}: {len(merge.copied)} episodes added, {len(merge.duplicates)} left out")
    return 0


def _split(args: argparse.Namespace) -> int:
    if args.fraction is None:
        for folder in cut_recording(args.source, args.output, args.at):
            print(folder)
        return 0
    train, validation = split_set(args.source, args.output, args.fraction, args.seed)
    print(f"{args.output}: {len(train)} episodes in train, {len(validation)} in validation")
    return 0


def _replay(args: argparse.Namespace) -> int:
    from moe_robot_control.demonstrations.replay import replay_episode  # MuJoCo takes a second

    failed = 0
    table = Table("episode", "joints [rad]", "tip [mm]", "tip at the end [mm]", "then", "now")
    files = _files(args.folders)
    for path in tqdm(files, unit="episode", disable=None):
        try:
            done = replay_episode(path)
        except EpisodeError as error:
            failed += 1
            print(f"not replayed: {error}")
            continue
        told = {True: "success", False: "failure", None: "unknown"}
        table.add_row(
            path.parent.name,
            f"{done.joints.max():.2g}",
            f"{done.tips.max() * 1e3:.2f}",
            f"{done.tips[-1] * 1e3:.2f}",
            told[done.recorded],
            told[done.replayed],
        )
    if table.row_count:
        print("Largest differences from what was recorded:")
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 1 if failed else 0


def _convert(args: argparse.Namespace) -> int:
    files = _files(args.sources)
    if args.successful:
        told = {path: read_bag(path, lambda _: False).metadata for path in files}
        files = [path for path in files if told[path].get("success", "").lower() != "false"]
    if args.to == "lerobot":
        from moe_robot_control.demonstrations.lerobot import write_lerobot as write
    else:
        from moe_robot_control.demonstrations.robomimic import write_robomimic as write
    try:
        counts = write(tqdm(files, unit="episode", disable=None), args.output, not args.no_images)
    except ImportError as error:
        raise EpisodeError(
            f"{error.name} is not installed: pip install 'moe_robot_control[formats]'"
        ) from error
    print(f"{args.output}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
    return 0


def _files(folders: Sequence[Path]) -> list[Path]:
    files = [file for folder in folders for file in episode_files(folder)]
    if not files:
        raise EpisodeError(f"{', '.join(map(str, folders))}: no episodes (*.mcap) there")
    return files


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be written: {error.strerror}") from error
