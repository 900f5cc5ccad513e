"""Does recorded commands again in the simulated bench, and compares what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.frames import Frames, read_frames
from moe_robot_control.policies.spaces import DECISION_PERIOD

LONGEST_PAUSE = 200
"""Decisions in a row without a command that are waited for."""
_TIMELESS = 10**9


@dataclass(frozen=True)
class Replay:
    """What came of an episode of T steps.

    Attributes:
        joints: largest distance of any joint from the recorded, at each step [rad]. Shape (T,).
        tips: distance of the tip from the recorded [m]. Shape (T,).
        recorded, replayed: whether it succeeded; None where nobody told.
        pauses: decisions in which nobody commanded, between those that were recorded.
    """

    joints: np.ndarray
    tips: np.ndarray
    recorded: bool | None
    replayed: bool
    pauses: int


def replay_episode(path: str | Path) -> Replay:
    """Replay an episode from the start that its seed gives.

    What was recorded in lockstep, or without the graph, comes out the same; in real time commands
    do not fall on the simulation's ticks, and contacts make small differences large.

    Raises:
        EpisodeError: it cannot be read, is not of the simulated bench with a known seed, or holds
            what a teacher would have done instead of what was done.
    """
    frames = read_frames(path, images=False)
    metadata = frames.episode.metadata
    seed = metadata.get("seed", "")
    if not seed.isdecimal():
        raise EpisodeError(
            f"{frames.path}: tells no seed: only episodes of the simulated bench can be replayed"
        )
    if metadata.get("source") == "teacher":
        raise EpisodeError(
            f"{frames.path}: holds a teacher's answers, not the disturbed actions that were done"
        )
    if metadata.get("arm", "panda") != "panda":
        raise EpisodeError(f"{frames.path}: of arm {metadata['arm']}: the bench has a panda")
    return _replay(frames, int(seed))


def _replay(frames: Frames, seed: int) -> Replay:
    from moe_robot_control.world.envs import BenchVectorEnv
    from moe_robot_control.world.scene import ALL_PARTS

    episode = frames.episode
    skill = episode.metadata.get("skill") or None
    scenario = int(episode.metadata["scenario"]) if not skill else None
    env = BenchVectorEnv(
        1,
        scenario=scenario,
        skill=skill,
        reward="sparse",
        max_steps=_TIMELESS,
        parts=ALL_PARTS if frames.of_graph else None,
    )
    env.reset(seed=[seed])
    sim = env.sim
    places = np.round((episode.stamps - frames.begin) / DECISION_PERIOD).astype(int)
    joints, tips = np.zeros(len(frames)), np.zeros(len(frames))
    now, pauses, success = 0, 0, False
    opening = float(sim.gripper_width[0])

    def step(action: np.ndarray) -> None:
        nonlocal success, opening
        # only the first success counts, and the end of the task is not the end of the recording
        *_, info = env.step(action[None])
        env._finished[:] = False
        success |= bool(info["success"][0])
        opening = float(action[3])

    for index, place in enumerate(places.tolist()):
        for _ in range(min(max(place - now, 0), LONGEST_PAUSE)):
            step(np.array([0.0, 0.0, 0.0, opening]))
            pauses += index > 0
        now = place + 1
        joints[index] = np.abs(sim.joint_positions[0] - frames.joints[index]).max()
        tips[index] = np.linalg.norm(sim.end_effector[0] - episode.scene.end_effector[index])
        step(episode.actions[index])
    return Replay(joints, tips, frames.success, success, pauses)
