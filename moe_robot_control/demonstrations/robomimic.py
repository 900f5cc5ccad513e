"""Data sets in the HDF5 format of robomimic.

https://robomimic.github.io/docs/datasets/overview.html. Its policies act in [-1, 1]: `actions` are
scaled so from `action_low` and `action_high`, attributes of the group `data`; `action_dict` holds
them in [m/s] and [m].
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moe_robot_control import __version__
from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.checks import label_of
from moe_robot_control.demonstrations.frames import Frames, read_frames
from moe_robot_control.demonstrations.unfinished import written_as_a_whole
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, OBJECTS, SKILLS

if TYPE_CHECKING:
    import h5py

GYM_TYPE = 2
"""robomimic's number for environments of gymnasium."""


def write_robomimic(
    files: Collection[Path], target: Path, images: bool = True, fraction: float = 0.1, seed: int = 0
) -> dict[str, int]:
    """Convert episodes.

    Args:
        files: MCAP files of the episodes.
        target: HDF5 file; must not exist.
        images: whether to convert the cameras' images, too.
        fraction: of the episodes for filter key `valid`, at least one of two and more; the
            others are `train`. Those known to have succeeded are `successful`.
        seed: chooses which.

    Returns:
        How many episodes, steps and cameras were written.

    Raises:
        EpisodeError: no episodes, one cannot be read; the target exists or cannot be written.
            Nothing is left then.
    """
    import h5py

    if not files:
        raise EpisodeError("no episodes (*.mcap) to convert")
    if not 0.0 <= fraction < 1.0:
        raise EpisodeError(f"fraction {fraction:g}: expected 0 or more and less than 1")
    total, cameras, successful = 0, 0, []
    labels: list[str] = []
    with written_as_a_whole(target) as unfinished, h5py.File(unfinished, "w") as file:
        data = file.create_group("data")
        for number, path in enumerate(files):
            frames = read_frames(path, images)
            _write_demo(data.create_group(f"demo_{number}"), frames)
            total += len(frames)
            cameras = max(cameras, len(frames.sizes))
            labels.append(label_of(frames.episode.metadata))
            if frames.success:
                successful.append(number)
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(_environment(labels))
        data.attrs["action_low"], data.attrs["action_high"] = ACTION_LOW, ACTION_HIGH
        _write_masks(file.create_group("mask"), len(files), successful, fraction, seed)
    return {"episodes": len(files), "frames": total, "cameras": cameras}


def _environment(labels: Sequence[str]) -> dict[str, object]:
    """What robomimic makes an environment of; for several tasks, that of the first."""
    from moe_robot_control.world.envs import BENCH_ID, skill_id

    label = labels[0]
    kwargs: dict[str, object] = {}
    if label in SKILLS:
        name = skill_id(label)
    else:
        name = BENCH_ID
        if label.startswith("scenario "):
            kwargs = {"scenario": int(label.split()[1])}
    return {
        "env_name": name,
        "env_version": __version__,
        "type": GYM_TYPE,
        "env_kwargs": kwargs,
        "tasks": sorted(set(labels)),
    }


def _write_demo(group: h5py.Group, frames: Frames) -> None:
    episode, count = frames.episode, len(frames)
    group.attrs["num_samples"] = count
    for key, value in episode.metadata.items():
        group.attrs[key] = value
    scaled = 2.0 * (episode.actions - ACTION_LOW) / (ACTION_HIGH - ACTION_LOW) - 1.0
    group["actions"] = np.clip(scaled, -1.0, 1.0).astype(np.float32)
    group["action_dict/velocity"] = episode.actions[:, :3].astype(np.float32)
    group["action_dict/gripper_width"] = episode.actions[:, 3:].astype(np.float32)
    last = np.arange(count) == count - 1
    group["rewards"] = (last & bool(frames.success)).astype(np.float32)
    group["dones"] = last.astype(np.int64)
    group["expert_weights"] = episode.weights.astype(np.float32)
    group["interventions"] = frames.operator.astype(np.int64)
    scene = episode.scene
    positions = np.where(scene.known[..., None], scene.positions, 0.0)
    observations = {
        "joint_positions": frames.joints,
        "end_effector": scene.end_effector,
        "gripper_width": scene.gripper_width[:, None],
        "objects": positions.reshape(count, 3 * len(OBJECTS)),
        "known": scene.known,
    }
    for name, values in observations.items():
        _write_observation(group, name, values.astype(np.float32))
    for camera in frames.sizes:
        pixels = np.stack([frames.image(camera, step) for step in range(count)])
        _write_observation(group, f"{camera}_image", pixels)


def _write_observation(group: h5py.Group, name: str, values: np.ndarray) -> None:
    how = {"compression": "gzip", "chunks": (1, *values.shape[1:])} if values.ndim > 2 else {}
    following = np.concatenate([values[1:], values[-1:]])
    for key, rows in (("obs", values), ("next_obs", following)):
        group.create_dataset(f"{key}/{name}", data=rows, **how)


def _write_masks(
    group: h5py.Group, count: int, successful: Sequence[int], fraction: float, seed: int
) -> None:
    held_out = min(max(round(fraction * count), 1), count - 1) if fraction else 0
    order = np.random.default_rng(seed).permutation(count).tolist()
    parts = {
        "train": sorted(order[held_out:]),
        "valid": sorted(order[:held_out]),
        "successful": successful,
    }
    for name, numbers in parts.items():
        group[name] = np.array([f"demo_{number}" for number in numbers], dtype="S")
