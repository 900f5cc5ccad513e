"""`moe-robot-control evaluate roman`: ROMAN against noise, disturbances, rivals and ablations."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from tqdm import tqdm

from moe_robot_control.evaluation.recovery_film import film_recovery
from moe_robot_control.evaluation.roman_report import (
    draw_learning,
    draw_methods,
    draw_noise,
    key_of,
    read_rows,
    row_key,
    row_of,
    same,
    tables,
    training_table,
    write_rows,
)
from moe_robot_control.evaluation.roman_suite import (
    METHODS,
    OVER_ROMAN,
    SECTIONS,
    Experiment,
    SuiteError,
    controller_of,
    run_experiment,
    suite,
)
from moe_robot_control.manifest import describe_run, manifest_path, read_manifest
from moe_robot_control.policies.runtime import GATE_NAME, MONOLITHIC_NAME, PolicyLoadError
from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.share import share_path
from moe_robot_control.world.disturbances import KINDS

QUICK_EPISODES = 4
FILMED_SCENARIO = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate roman`."""
    parser.add_argument("--quick", action="store_true", help="few episodes of a few experiments")
    parser.add_argument("--section", action="append", help=f"only: {', '.join(SECTIONS)}")
    parser.add_argument("--method", action="append", help=f"only: {', '.join(METHODS)}")
    parser.add_argument("--episodes", type=int, default=100, help="of each scenario and condition")
    parser.add_argument("--skill-episodes", type=int, default=200, help="of each skill")
    parser.add_argument(
        "--camera-episodes", type=int, default=100, help="of each scenario with rendered images"
    )
    parser.add_argument("--models", type=Path, help="folder of the policies (models/policies)")
    parser.add_argument("--baselines", type=Path, default=Path("data/baselines"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/roman"))
    parser.add_argument("--jobs", type=int, default=1, help="experiments side by side")
    parser.add_argument(
        "--film", action="store_true", help="film a recovery from each kind of disturbance, too"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")


def run(args: argparse.Namespace) -> int:
    """Run the experiments that have no result yet for these policies, and write the report.

    Raises:
        MoeRobotControlError: impossible options, missing or unusable models.
    """
    policies = share_path("models/policies") if args.models is None else args.models
    experiments = _trained(_chosen(args), policies, args.baselines)
    hashes = {method: _hash_of(method, policies, args.baselines) for method in METHODS}
    path = args.out / "results.csv"
    # what other policies did is no result of these
    rows = [row for row in read_rows(path) if row["models"] == hashes.get(row["method"])]
    missing = [
        experiment
        for experiment in experiments
        if args.again or not any(same(row, experiment, hashes[experiment.method]) for row in rows)
    ]
    order = {key_of(experiment): index for index, experiment in enumerate(suite())}
    threads = 0 if args.jobs == 1 else max(1, (os.cpu_count() or 1) // args.jobs)
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(args.jobs, context) as pool,
        tqdm(total=sum(e.episodes for e in missing), unit="episode") as bar,
    ):
        jobs = [pool.submit(run_experiment, e, policies, args.baselines, threads) for e in missing]
        for job in as_completed(jobs):
            result = job.result()
            row = row_of(result, hashes[result.experiment.method])
            key = key_of(result.experiment)
            rows = [other for other in rows if row_key(other) != key] + [row]
            rows.sort(key=lambda row: order.get(row_key(row), len(order)))
            write_rows(path, rows)
            bar.update(result.experiment.episodes)
            bar.set_description(f"{key[0]}: {key[1]} {key[3]} {result.share:.0%}")
    if args.film:
        for kind in KINDS:
            seed = film_recovery(args.out / f"{kind}.mp4", policies, kind, FILMED_SCENARIO)
            print(f"{kind}: " + ("no recovery" if seed is None else f"recovery of seed {seed}"))
    _write_report(args.out, rows, policies, args.baselines, args.quick)
    Console().print(Markdown(tables(rows)))
    return 0


def _chosen(args: argparse.Namespace) -> list[Experiment]:
    for name, value in (("--episodes", args.episodes), ("--skill-episodes", args.skill_episodes)):
        if value < 1:
            raise SuiteError(f"{name} must be 1 or more, not {value}")
    if args.jobs < 1 or args.camera_episodes < 0:
        raise SuiteError("--jobs must be 1 or more and --camera-episodes 0 or more")
    for names, known, what in (
        (args.section, SECTIONS, "section"),
        (args.method, tuple(METHODS), "method"),
    ):
        for name in names or ():
            if name not in known:
                raise SuiteError(f"unknown {what} {name!r}: expected one of {', '.join(known)}")
    experiments = suite(args.episodes, args.skill_episodes, args.camera_episodes)
    if args.quick:
        quick = [e for e in experiments if e.method in ("roman", "oracle", "monolithic")]
        experiments = [
            replace(e, episodes=QUICK_EPISODES) for e in quick if e.task in ("1", "push_button")
        ]
    chosen = [
        experiment
        for experiment in experiments
        if (not args.section or experiment.section in args.section)
        and (not args.method or experiment.method in args.method)
    ]
    if not chosen:
        raise SuiteError("no experiment is in that section and of that method")
    return chosen


def _trained(experiments: list[Experiment], policies: Path, baselines: Path) -> list[Experiment]:
    """The experiments whose models can be loaded; rivals that are not trained are left out.

    Raises:
        PolicyLoadError: ROMAN's own models are unusable.
    """
    absent = set()
    for experiment in {(e.method, e.skill): e for e in experiments}.values():
        try:
            controller_of(experiment.method, policies, baselines, experiment.skill)
        except PolicyLoadError as error:
            if experiment.method in OVER_ROMAN:
                raise
            print(f"left out: {METHODS[experiment.method]} ({error})", file=sys.stderr)
            absent.add(experiment.method)
    return [experiment for experiment in experiments if experiment.method not in absent]


def _hash_of(method: str, policies: Path, baselines: Path) -> str:
    """Short hash of all models that a method uses."""
    own = baselines / method
    folders = [policies] if method in OVER_ROMAN else [own]
    if method == "sparse_gate":
        folders = [policies, own]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.onnx")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _metrics(folder: Path) -> dict[str, dict]:
    """What the manifests of reinforcement learning in `folder` tell, by network."""
    found = {}
    for name in (*SKILLS, GATE_NAME, MONOLITHIC_NAME):
        model = folder / f"{name}.onnx"
        metrics = read_manifest(model)["metrics"] if manifest_path(model).is_file() else {}
        if "validated_success" in metrics:
            found[name] = metrics
    return found


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _write_report(
    out: Path, rows: list[dict[str, str]], policies: Path, baselines: Path, quick: bool
) -> None:
    command = shlex.join(["moe-robot-control", *sys.argv[1:]])
    own = _metrics(policies)
    curves = {name: own[name]["validated_success"] for name in own}
    rivals = {METHODS[name]: _metrics(baselines / name) for name in METHODS}
    text = [
        "# ROMAN",
        "",
        f"`{command}`",
        "",
        "Success of episodes from resets that no training has seen, with Wilson's 95% interval. "
        "Unless said otherwise observations carry perception's errors (bias 1.5 mm, noise 1 mm).",
        "",
        tables(rows),
    ]
    if own:
        text += [training_table(own, rivals)]
    out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "scenarios.png": lambda path: draw_methods(path, rows, "baselines"),
        "disturbed.png": lambda path: draw_methods(path, rows, "baselines disturbed"),
        "noise.png": lambda path: draw_noise(path, rows),
        "learning.png": lambda path: draw_learning(path, curves),
    }
    for name, draw in pictures.items():
        draw(out / name)
        if (out / name).is_file():
            text.append(f"![{name.removesuffix('.png')}]({name})")
    films = [kind for kind in KINDS if (out / f"{kind}.mp4").is_file()]
    if films:
        text += ["", "## Recoveries, from rendered images", ""]
        text += [
            f"[{_words(kind)}]({kind}.mp4)\n\n![{_words(kind)}]({kind}.png)\n" for kind in films
        ]
    notes = out / "notes.md"
    if notes.is_file():
        text += ["", notes.read_text().strip()]
    (out / "README.md").write_text("\n".join(text) + "\n")
    about = describe_run(command) | {"quick": quick, "rows": len(rows)}
    (out / "manifest.json").write_text(json.dumps(about, indent=2) + "\n")
