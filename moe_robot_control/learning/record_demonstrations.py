"""`moe-robot-control record`: demonstrations by the scripted teachers or by a simulated operator.

With teachers the executed action is the teacher's with smooth noise and now and then a push; the
recorded label is the teacher's own answer to where that led (DART, Laskey et al. 2017), so that
demonstrations show how to recover. Of the operator (`world/operators.py`) every episode is
recorded, failures too, with the actions as executed: what offline reinforcement learning needs.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from moe_robot_control import __version__
from moe_robot_control.demonstrations.episode import EpisodeWriter
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import (
    DECISION_PERIOD,
    MAX_SPEED,
    NUM_SCENARIOS,
    SKILLS,
    Scene,
    check_skill,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.operators import Operator
from moe_robot_control.world.tasks import DEMONSTRATED, SUCCESS, TIP_START
from moe_robot_control.world.teachers import teach_stage, teach_weights
from moe_robot_control.world.unsteady import Unsteadiness

FIRST_SEED = 1_000_000
"""Seeds from here on are for demonstrations; evaluations use smaller ones."""
WIDE_TIP_BOX = np.array([[0.30, -0.42, 0.05], [0.60, 0.42, 0.46]])
"""An expert takes over wherever another left the tip [m]."""
LONGEST = 250
"""Decisions for each skill: pushes cost time."""


class RecordingError(MoeRobotControlError):
    """Demonstrations that cannot be recorded as asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `record`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--skill", help=f"one skill: {', '.join(SKILLS)}")
    what.add_argument("--gate", action="store_true", help="scenarios 1 to 7, for the gate")
    what.add_argument("--all", action="store_true", help="every skill and the gate")
    parser.add_argument("--episodes", type=int, default=20, help="for each skill")
    parser.add_argument("--gate-episodes", type=int, default=6, help="for each scenario")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument(
        "--operator", action="store_true", help="a clumsy operator, for one skill or all of them"
    )
    parser.add_argument(
        "--output", type=Path, help="folder (data/demonstrations; --operator: data/operator)"
    )
    parser.add_argument("--replace", action="store_true", help="delete what is there first")


def run(args: argparse.Namespace) -> int:
    """Record what was asked for."""
    if args.episodes < 1 or args.gate_episodes < 1:
        raise RecordingError("--episodes and --gate-episodes must be 1 or more")
    if args.operator and args.gate:
        raise RecordingError("--operator is for skills, not for the gate")
    output = args.output or Path("data/operator" if args.operator else "data/demonstrations")
    skills = list(SKILLS) if args.all else [check_skill(args.skill)] if args.skill else []
    for skill in skills:
        folder = _prepare(output / skill, args.replace)
        env = BenchVectorEnv(
            1,
            skill=skill,
            reward="sparse",
            max_steps=None if args.operator else LONGEST,
            tip_box=TIP_START if args.operator else WIDE_TIP_BOX,
            thresholds=SUCCESS if args.operator else DEMONSTRATED,
        )
        _record(env, folder, {"skill": skill}, args.episodes, args.seed, args.operator)
    if (args.all or args.gate) and not args.operator:
        folder = _prepare(output / "gate", args.replace)
        for scenario in range(1, NUM_SCENARIOS + 1):
            env = BenchVectorEnv(
                1,
                scenario=scenario,
                reward="sparse",
                max_steps=LONGEST * scenario,
                thresholds=DEMONSTRATED,
            )
            seed = args.seed + 1000 * scenario
            _record(env, folder, {"scenario": scenario}, args.gate_episodes, seed, False)
    return 0


def _prepare(folder: Path, replace: bool) -> Path:
    if folder.exists() and any(folder.iterdir()):
        if not replace:
            raise RecordingError(f"{folder}: holds episodes already (--replace deletes them)")
        shutil.rmtree(folder)
    return folder


_Pilot = Callable[[np.ndarray, Scene], tuple[np.ndarray, np.ndarray]]
"""From stage and scene to the action to record and the one to execute, (1, 4) each."""


class _Teacher:
    """The scripted teacher, and what noise makes of its answers."""

    def __init__(self, seed: int) -> None:
        self._unsteady = Unsteadiness(np.random.default_rng([seed, 7]))

    def __call__(self, stage: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        action = teach_stage(stage, scene)
        disturbed = action.copy()
        disturbed[0, :3] += self._unsteady.step()
        disturbed[0, :3] = np.clip(disturbed[0, :3], -MAX_SPEED, MAX_SPEED)
        return action, disturbed


class _Operated:
    """The operator, whose actions are recorded as executed."""

    def __init__(self, skill: str, seed: int) -> None:
        self._operator = Operator(skill, np.random.default_rng([seed, 7]))

    def __call__(self, stage: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        action = self._operator.act(scene)
        return action, action


def _record(
    env: BenchVectorEnv, folder: Path, what: dict, count: int, seed: int, operated: bool
) -> None:
    """Record `count` episodes, skipping seeds on which noise made the teacher fail."""
    label = "_".join(str(part) for item in what.items() for part in item)
    with tqdm(total=count, desc=label, unit="episode") as bar:
        while bar.n < count:
            pilot = _Operated(env.skill, seed) if operated else _Teacher(seed)
            steps, success = _rollout(env, seed, pilot)
            if success or operated:
                metadata = {
                    **what,
                    "seed": seed,
                    "success": success,
                    "source": "operator" if operated else "teacher",
                    "software": f"moe_robot_control {__version__}",
                }
                _write(folder / f"{label}_{seed}", metadata, steps, env)
                bar.update()
            seed += 1


def _rollout(env: BenchVectorEnv, seed: int, pilot: _Pilot) -> tuple[list[tuple], bool]:
    """Steps (stamp, joints, scene, label, weights) of one episode, and whether it succeeded."""
    _, info = env.reset(seed=[seed])
    steps: list[tuple] = []
    while True:
        label, executed = pilot(info["stage"], info["scene"])
        joints = [*env.sim.joint_positions[0], env.sim.gripper_width[0]]
        weights = teach_weights(info["stage"])[0]
        stamp = DECISION_PERIOD * len(steps)
        steps.append((stamp, joints, _first(info["scene"]), label[0], weights))
        _, _, terminated, truncated, info = env.step(executed)
        if terminated[0] or truncated[0]:
            return steps, bool(info["success"][0])


def _first(scene: Scene) -> Scene:
    return Scene(scene.end_effector[0], scene.gripper_width[0], scene.positions[0], scene.known[0])


def _write(folder: Path, metadata: dict, steps: list[tuple], env: BenchVectorEnv) -> None:
    arm = env.sim.arm
    names = [*arm.joint_names, arm.gripper_joint]
    with EpisodeWriter(folder, metadata, arm.base_frame) as writer:
        for stamp, joints, scene, action, weights in steps:
            named = dict(zip(names, map(float, joints), strict=True))
            writer.add(stamp, named, scene, action, weights)
