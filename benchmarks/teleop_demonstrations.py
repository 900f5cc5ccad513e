"""Are demonstrations through gamepad, teleop, commander and recorder as good as those made in
process?

    python benchmarks/teleop_demonstrations.py                        # all skills, an hour
    python benchmarks/teleop_demonstrations.py --skill push_button --evaluations 50

For each skill a scripted operator with a synthetic gamepad records episodes over the graph, the
scripted teacher records as many in process, an expert is cloned from each with the same settings
and seed, and both are evaluated on the same scenes, which no demonstration has. What is there
already (episodes, policies) is used. Writes a page and a JSON file.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from moe_robot_control import cli
from moe_robot_control.demonstrations.episode import load_episodes
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.policies_in_simulation import expert, run_in_simulation
from moe_robot_control.learning.record_demonstrations import FIRST_SEED
from moe_robot_control.policies.spaces import SKILLS, check_skill
from scripted_operator import record_episodes

SOURCES: dict[str, str] = {"in_process": "in process", "graph": "over the graph by gamepad"}
LARGEST_DIFFERENCE = 5.0
"""Percentage points by which policies of the graph's demonstrations may be worse."""


def record(source: str, folder: Path, skill: str, count: int, factor: float) -> None:
    """See to it that `folder` holds `count` successful episodes of a skill."""
    there = sorted((folder / skill).glob("*/*.mcap"))
    if len(there) >= count:
        return
    if there:
        # without a clean end: a run that was interrupted begins the skill anew
        shutil.rmtree(folder / skill)
    if source == "in_process":
        _command("record", "--skill", skill, "--episodes", str(count), "--output", str(folder))
        return
    with tqdm(total=count, desc=f"{skill} by gamepad", unit="episode") as bar:

        def progress(seed: int, success: bool) -> None:
            bar.update(success)

        failed, missing = record_episodes(folder, count, FIRST_SEED, factor, progress, skill=skill)
    print(f"{skill}: {count} recorded, {failed} failed and discarded, {missing} messages missing")


def train(episodes: Path, models: Path, skill: str, seed: int) -> None:
    """Clone an expert, unless it is there."""
    if (models / f"{skill}.onnx").is_file():
        return
    options = ["--demonstrations", str(episodes), "--output", str(models), "--seed", str(seed)]
    _command("train", "bc", "--skill", skill, *options, "--runs", str(models / "runs"))


def evaluate(models: Path, skill: str, count: int) -> list[bool]:
    """Success on each of the seeds from 0 on."""
    outcomes = run_in_simulation(expert(models, skill), range(count), skill=skill)
    return [outcome.success for outcome in outcomes]


def write_page(path: Path, results: dict[str, dict], settings: argparse.Namespace) -> str:
    """A table of all skills; returns the last line."""
    lines = [
        "# Demonstrations by gamepad against those in process",
        "",
        f"Experts cloned from {settings.episodes} episodes of each skill, evaluated on "
        f"{settings.evaluations} scenes that no demonstration has, in simulation from true "
        "positions. Success in percent. Of both kinds only episodes that succeeded are cloned.",
        "",
        "| skill | in process | by gamepad over the graph | difference | steps in process | "
        "steps by gamepad |",
        "|---|---|---|---|---|---|",
    ]
    rates = {source: [] for source in SOURCES}
    for skill, result in results.items():
        shares = [100 * float(np.mean(result[source]["success"])) for source in SOURCES]
        for source, share in zip(SOURCES, shares, strict=True):
            rates[source].append(share)
        steps = [result[source]["steps"] for source in SOURCES]
        lines.append(
            f"| {skill} | {shares[0]:.0f} | {shares[1]:.0f} | {shares[1] - shares[0]:+.0f} | "
            f"{steps[0]} | {steps[1]} |"
        )
    means = [float(np.mean(rates[source])) for source in SOURCES]
    lines.append(
        f"| **all** | **{means[0]:.1f}** | **{means[1]:.1f}** | "
        f"**{means[1] - means[0]:+.1f}** | | |"
    )
    verdict = (
        "Difference of demonstrations by gamepad from those in process: "
        f"{means[1] - means[0]:+.1f} points (down to -{LARGEST_DIFFERENCE:.0f} is allowed)."
    )
    command = shlex.join(["python", "benchmarks/teleop_demonstrations.py", *sys.argv[1:]])
    lines += ["", verdict, "", "Made by:", "", "```sh", command, "```", ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    path.with_suffix(".json").write_text(json.dumps(results, indent=1))
    return verdict


def main() -> int:
    """Record, train, evaluate, compare; 0 where the difference is small enough."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--skill", action="append", help="one skill; may be repeated; all")
    parser.add_argument("--episodes", type=int, default=20, help="of each skill and kind")
    parser.add_argument("--evaluations", type=int, default=100, help="of each policy")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--real-time-factor", type=float, default=1.0, help="of the bench")
    parser.add_argument("--data", type=Path, default=Path("data/teleoperation"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/teleoperation.md"))
    args = parser.parse_args()
    results: dict[str, dict] = {}
    try:
        for skill in [check_skill(name) for name in args.skill or SKILLS]:
            results[skill] = {}
            for source in SOURCES:
                episodes, models = args.data / source, args.data / "models" / source
                record(source, episodes, skill, args.episodes, args.real_time_factor)
                train(episodes, models, skill, args.seed)
                success = evaluate(models, skill, args.evaluations)
                steps = sum(map(len, load_episodes(episodes / skill)))
                results[skill][source] = {"success": success, "steps": steps}
                print(f"{skill}, {SOURCES[source]}: {100 * np.mean(success):.0f} % succeed")
            verdict = write_page(args.out, results, args)
    except MoeRobotControlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(verdict)
    means = [
        np.mean([np.mean(r[source]["success"]) for r in results.values()]) for source in SOURCES
    ]
    return int(100 * (means[0] - means[1]) > LARGEST_DIFFERENCE)


def _command(*words: str) -> None:
    """Run a sub-command of ours."""
    if cli.main(words) != 0:
        raise MoeRobotControlError(f"failed: moe-robot-control {shlex.join(words)}")


if __name__ == "__main__":
    sys.exit(main())
