"""`moe-robot-control record`: demonstrations of the scripted teachers, as MCAP episodes."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from moe_robot_control.demonstrations.episode import EpisodeWriter
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    DECISION_PERIOD,
    NUM_SCENARIOS,
    SKILLS,
    Scene,
    check_skill,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.teachers import teach, teach_weights

FIRST_SEED = 1_000_000
"""Demonstrations use seeds from here on, evaluations those below."""
GATE_FOLDER = "gate"
EPISODES_PER_SKILL = 20
EPISODES_PER_SCENARIO = 6
BATCH = 24
"""Simulations that run together."""
HOLD = {"rotate_door": 6, "unbox": 4, "pull_drawer": 5, "push_button": 2}
"""Decisions for which the gate keeps a skill after its success, so that a result which looks
nearly done, through perception's errors, is not abandoned."""


class RecordError(MoeRobotControlError):
    """Demonstrations that cannot be recorded."""


@dataclass(frozen=True)
class Disturbance:
    """Deviations from the teacher, so that its corrections are seen.

    Attributes:
        wander: standard deviation of a slowly changing velocity [m/s].
        correlation: share of it that stays from one decision to the next.
        push_chance: probability at each decision that a push begins.
        push_speed: largest speed of a push along each axis [m/s].
        push_steps: its length [decisions].
    """

    wander: float = 0.03
    correlation: float = 0.8
    push_chance: float = 0.015
    push_speed: float = 0.2
    push_steps: int = 5


class _Hand:
    """The disturbances' state for n simulations."""

    def __init__(self, kind: Disturbance, rngs: list[np.random.Generator]) -> None:
        self._kind = kind
        self._rngs = rngs
        self._wander = np.zeros((len(rngs), 3))
        self._push = np.zeros((len(rngs), 3))
        self._left = np.zeros(len(rngs), dtype=int)

    def shake(self, actions: np.ndarray) -> np.ndarray:
        """The actions carried out instead of `actions`, shape (n, 4)."""
        kind = self._kind
        fresh = np.sqrt(1.0 - kind.correlation**2) * kind.wander
        for i, rng in enumerate(self._rngs):
            self._wander[i] = kind.correlation * self._wander[i] + fresh * rng.normal(size=3)
            if self._left[i] == 0 and rng.random() < kind.push_chance:
                self._left[i] = kind.push_steps
                self._push[i] = rng.uniform(-kind.push_speed, kind.push_speed, 3)
        pushed = np.where(self._left[:, None] > 0, self._push, 0.0)
        self._left = np.maximum(self._left - 1, 0)
        shaken = actions.copy()
        shaken[:, :3] += self._wander + pushed
        return np.clip(shaken, ACTION_LOW, ACTION_HIGH)


@dataclass
class _Step:
    joints: np.ndarray
    scene: Scene
    action: np.ndarray
    weights: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `record`."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--skill", help="one of: " + ", ".join(SKILLS))
    target.add_argument("--gate", action="store_true", help="all scenarios, for the gate")
    target.add_argument("--all", action="store_true", help="every skill and the gate")
    parser.add_argument(
        "--episodes",
        type=int,
        help=f"of the skill ({EPISODES_PER_SKILL}), or of each scenario ({EPISODES_PER_SCENARIO})",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("data/demonstrations"))
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(args: argparse.Namespace) -> int:
    """Record what the arguments ask for.

    Raises:
        MoeRobotControlError: unknown skill, folder not empty, or the teachers fail.
    """
    if args.episodes is not None and args.episodes < 1:
        raise RecordError(f"--episodes must be at least 1, not {args.episodes}")
    if args.seed < 0:
        raise RecordError(f"--seed must not be negative, but is {args.seed}")
    if args.all:
        skills, gate = SKILLS, True
    else:
        skills = () if args.gate else (check_skill(args.skill),)
        gate = args.gate
    for skill in skills:
        folder = _empty(args.output / skill, args.overwrite)
        record(folder, args.episodes or EPISODES_PER_SKILL, args.seed, skill=skill)
    if gate:
        folder = _empty(args.output / GATE_FOLDER, args.overwrite)
        for scenario in range(1, NUM_SCENARIOS + 1):
            record(folder, args.episodes or EPISODES_PER_SCENARIO, args.seed, scenario=scenario)
    return 0


def record(
    folder: Path,
    episodes: int,
    seed: int,
    skill: str | None = None,
    scenario: int | None = None,
    disturbance: Disturbance | None = None,
) -> float:
    """Write successful demonstrations of a skill or a scenario.

    The teacher's clean action is recorded, its disturbed one carried out. Object positions are
    the true ones.

    Args:
        folder: gets one folder for each episode.
        episodes: number of successes to record.
        seed: of everything random, offset by `FIRST_SEED`.
        skill, scenario: one of them.
        disturbance: the default one if none is given.

    Returns:
        Share of attempts that succeeded.

    Raises:
        RecordError: fewer than half of the attempts succeed.
    """
    name = skill if skill is not None else f"scenario_{scenario}"
    size = min(BATCH, episodes)
    env = BenchVectorEnv(size, scenario=scenario, skill=skill, whole_bench=skill is not None)
    arm = env.sim.arm
    names = [*arm.joint_names, arm.gripper_joint]
    written = attempts = 0
    bar = tqdm(total=episodes, desc=name, unit="episode")
    while written < episodes:
        if attempts >= 2 * episodes + size and written < attempts / 2:
            raise RecordError(f"{name}: the teacher succeeded in {written} of {attempts} attempts")
        first = FIRST_SEED + 10_000 * seed + attempts
        for episode_seed, steps, success in _attempt(env, skill, first, disturbance):
            attempts += 1
            if not success or written == episodes:
                continue
            facts = _facts(skill, scenario, episode_seed)
            target = folder / f"{name}_{written:03d}"
            with EpisodeWriter(target, facts, arm.base_frame) as writer:
                for t, step in enumerate(steps):
                    joints = dict(zip(names, step.joints, strict=True))
                    writer.add(t * DECISION_PERIOD, joints, step.scene, step.action, step.weights)
            written += 1
            bar.update()
    bar.close()
    return written / attempts


def _attempt(
    env: BenchVectorEnv, skill: str | None, first_seed: int, disturbance: Disturbance | None
) -> Iterator[tuple[int, list[_Step], bool]]:
    n = env.num_envs
    _, info = env.reset(seed=first_seed)
    rngs = [np.random.default_rng([first_seed + i, 7]) for i in range(n)]
    hand = _Hand(Disturbance() if disturbance is None else disturbance, rngs)
    steps: list[list[_Step]] = [[] for _ in range(n)]
    running = np.ones(n, dtype=bool)
    success = np.zeros(n, dtype=bool)
    stage, held = np.array(info["stage"]), np.zeros(n, dtype=int)
    while running.any():
        stage, held = _hold(stage, held, info["stage"])
        scene: Scene = info["scene"]
        actions = _teach(scene, stage, skill)
        weights = teach_weights(stage)
        joints = np.column_stack([env.sim.joint_positions, env.sim.gripper_width])
        for i in np.flatnonzero(running):
            seen = Scene(
                scene.end_effector[i].copy(),
                np.array(scene.gripper_width[i]),
                scene.positions[i].copy(),
                scene.known[i].copy(),
            )
            steps[i].append(_Step(joints[i], seen, actions[i], weights[i]))
        _, _, terminated, truncated, info = env.step(hand.shake(actions))
        ended = running & (terminated | truncated)
        success |= ended & info["success"]
        running &= ~ended
    for i in range(n):
        yield first_seed + i, steps[i], bool(success[i])


def _hold(
    stage: np.ndarray, held: np.ndarray, reached: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The stage that the gate shows, which follows the one reached after `HOLD` decisions."""
    patience = np.array([HOLD.get(skill, 0) for skill in SKILLS] + [0])[stage]
    behind = reached > stage
    follow = behind & (held >= patience)
    return np.where(behind & ~follow, stage, reached), np.where(behind & ~follow, held + 1, 0)


def _teach(scene: Scene, stage: np.ndarray, skill: str | None) -> np.ndarray:
    if skill is not None:
        return teach(skill, scene)
    actions = np.zeros((len(stage), 4))
    for index in np.unique(np.minimum(stage, len(SKILLS) - 1)):
        chosen = np.minimum(stage, len(SKILLS) - 1) == index
        actions[chosen] = teach(SKILLS[index], scene)[chosen]
    return actions


def _facts(skill: str | None, scenario: int | None, seed: int) -> dict[str, Any]:
    try:
        software = version("moe_robot_control")
    except PackageNotFoundError:
        software = "unknown"
    return {
        "skill": skill or "",
        "scenario": scenario or "",
        "seed": seed,
        "success": "true",
        "source": "teacher",
        "software": software,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _empty(folder: Path, overwrite: bool) -> Path:
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise RecordError(f"{folder}: holds demonstrations already; --overwrite replaces them")
        shutil.rmtree(folder)
    return folder
