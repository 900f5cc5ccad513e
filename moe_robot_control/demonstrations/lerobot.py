"""Data sets in the format of LeRobot (v3.0): Parquet tables, MP4 videos and their description.

https://huggingface.co/docs/lerobot/lerobot-dataset-v3. Every episode has files of its own, which
the format allows, so that one episode at a time is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.checks import label_of
from moe_robot_control.demonstrations.frames import Frames, read_frames
from moe_robot_control.demonstrations.unfinished import written_as_a_whole
from moe_robot_control.policies.spaces import DECISION_PERIOD, OBJECTS, SKILLS

VERSION = "v3.0"
FPS = round(1.0 / DECISION_PERIOD)
CHUNK = 1000
"""Files in a folder."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"
_CODEC, _PIXELS, _KEYFRAMES, _QUALITY = "h264", "yuv420p", 2, 23
_SAMPLED = 100
"""Images of a video of which its statistics are made."""
_COUNTED = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def write_lerobot(files: Collection[Path], target: Path, images: bool = True) -> dict[str, int]:
    """Convert episodes.

    Args:
        files: MCAP files of the episodes.
        target: folder; must not exist.
        images: whether to convert the cameras' images to videos.

    Returns:
        How many episodes, frames and cameras were written.

    Raises:
        EpisodeError: no episodes, one cannot be read, they are of different arms, or have
            different cameras; the target exists or cannot be written. Nothing is left then.
    """
    if not files:
        raise EpisodeError("no episodes (*.mcap) to convert")
    with written_as_a_whole(target) as unfinished:
        return _write_set(files, unfinished, images)


def _write_set(files: Collection[Path], folder: Path, images: bool) -> dict[str, int]:
    features: dict[str, dict[str, Any]] = {}
    tasks: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    statistics: list[dict[str, dict[str, np.ndarray]]] = []
    first, total, arm = None, 0, ""
    for number, path in enumerate(files):
        frames = read_frames(path, images)
        if first is None:
            first = frames
            features, arm = _features(frames), frames.episode.metadata.get("arm", "panda")
        _check_alike(first, frames)
        task = tasks.setdefault(_task(frames), len(tasks))
        columns = _columns(frames, number, total, task)
        place = {"chunk_index": number // CHUNK, "file_index": number % CHUNK}
        _write_table(folder / DATA.format(**place), columns, features)
        of = {name: _statistics(values) for name, values in columns.items()}
        row = {
            "episode_index": number,
            "tasks": [_task(frames)],
            "length": len(frames),
            "dataset_from_index": total,
            "dataset_to_index": total + len(frames),
            **{f"data/{name}": value for name, value in place.items()},
            **{f"meta/episodes/{name}": 0 for name in place},
        }
        for camera in frames.sizes:
            key = _camera_key(camera)
            of[key] = _write_video(folder / VIDEO.format(video_key=key, **place), frames, camera)
            row |= {f"videos/{key}/{name}": value for name, value in place.items()}
            row[f"videos/{key}/from_timestamp"] = 0.0
            row[f"videos/{key}/to_timestamp"] = len(frames) / FPS
        row |= {
            f"stats/{feature}/{kind}": value.tolist()
            for feature, values in of.items()
            for kind, value in values.items()
        }
        rows.append(row)
        statistics.append(of)
        total += len(frames)
    _write_meta(folder, features, tasks, rows, statistics, arm)
    return {"episodes": len(files), "frames": total, "cameras": len(first.sizes)}


def _write_meta(
    folder: Path,
    features: dict[str, dict[str, Any]],
    tasks: dict[str, int],
    rows: list[dict[str, Any]],
    statistics: list[dict[str, dict[str, np.ndarray]]],
    arm: str,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    episodes = folder / _EPISODES
    episodes.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), episodes)
    _write_tasks(folder / "meta/tasks.parquet", tasks)
    info = {
        "codebase_version": VERSION,
        "robot_type": arm,
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"],
        "total_tasks": len(tasks),
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": DATA,
        "video_path": VIDEO if any(f["dtype"] == "video" for f in features.values()) else None,
        "features": features,
    }
    (folder / "meta/info.json").write_text(json.dumps(info, indent=4))
    merged = {name: _merge([each[name] for each in statistics]) for name in statistics[0]}
    plain = {n: {k: v.tolist() for k, v in values.items()} for n, values in merged.items()}
    (folder / "meta/stats.json").write_text(json.dumps(plain, indent=4))


def _write_tasks(path: Path, tasks: dict[str, int]) -> None:
    """A table of which LeRobot reads the sentences as pandas' index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(name: str, kind: str, numpy_type: str) -> dict[str, Any]:
        told = {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type}
        return told | {"metadata": None}

    about = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": list(tasks)})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(about)}), path)


def _features(frames: Frames) -> dict[str, dict[str, Any]]:
    """What the columns and videos are, as `meta/info.json` tells it."""

    def vector(dtype: str, names: Sequence[str] | None) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [len(names) if names else 1], "names": names}

    state = [f"{name}.pos" for name in frames.joint_names]
    state += ["gripper.width", *(f"end_effector.{axis}" for axis in "xyz")]
    scene = [f"{name}.{what}" for name in OBJECTS for what in ("x", "y", "z", "known")]
    features = {
        "observation.state": vector("float32", state),
        "observation.environment_state": vector("float32", scene),
        "action": vector("float32", ["x.vel", "y.vel", "z.vel", "gripper.width"]),
        "expert_weights": vector("float32", list(SKILLS)),
        "intervention": vector("bool", None),
        "next.success": vector("bool", None),
        "next.done": vector("bool", None),
        "timestamp": vector("float32", None),
        **{name: vector("int64", None) for name in _COUNTED[1:]},
    }
    for camera, (height, width) in frames.sizes.items():
        features[_camera_key(camera)] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": _CODEC,
                "video.pix_fmt": _PIXELS,
                "video.is_depth_map": False,
                "video.fps": FPS,
                "video.channels": 3,
                "has_audio": False,
            },
        }
    return features


def _columns(frames: Frames, number: int, begin: int, task: int) -> dict[str, np.ndarray]:
    episode, count = frames.episode, len(frames)
    scene, steps = episode.scene, np.arange(count)
    known = scene.known[..., None].astype(float)
    objects = np.concatenate([np.where(known > 0, scene.positions, 0.0), known], axis=-1)
    last = steps == count - 1
    return {
        "observation.state": np.column_stack(
            [frames.joints, scene.gripper_width, scene.end_effector]
        ),
        "observation.environment_state": objects.reshape(count, -1),
        "action": episode.actions,
        "expert_weights": episode.weights,
        "intervention": frames.operator,
        "next.success": last & bool(frames.success),
        "next.done": last,
        "timestamp": steps / FPS,
        "frame_index": steps,
        "episode_index": np.full(count, number),
        "index": begin + steps,
        "task_index": np.full(count, task),
    }


def _write_table(path: Path, columns: dict[str, np.ndarray], features: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        kind = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}
        kind = kind[features[name]["dtype"]]
        flat = pa.array(values.reshape(-1).astype(features[name]["dtype"]), kind)
        wide = values.ndim > 1
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if wide else flat
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path)


def _write_video(path: Path, frames: Frames, camera: str) -> dict[str, np.ndarray]:
    """Write a camera's video; returns the statistics of its pixels, from 0 to 1."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.sizes[camera]
    if height % 2 or width % 2:
        raise EpisodeError(
            f"{frames.path}: camera {camera}: {width} x {height} pixels: H.264 wants even sizes"
        )
    sampled = set(np.linspace(0, len(frames) - 1, min(len(frames), _SAMPLED)).astype(int).tolist())
    kept: list[np.ndarray] = []
    with av.open(str(path), "w") as container:
        options = {"g": str(_KEYFRAMES), "crf": str(_QUALITY)}
        stream = container.add_stream(_CODEC, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, _PIXELS
        for step in range(len(frames)):
            pixels = frames.image(camera, step)
            if step in sampled:
                kept.append(pixels[::4, ::4].reshape(-1, 3) / 255.0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    found = _statistics(np.concatenate(kept))
    shaped = {name: value.reshape(3, 1, 1) for name, value in found.items() if name != "count"}
    return shaped | {"count": np.array([len(kept)])}


def _statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
    }


def _merge(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Statistics of all episodes together."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    shares = counts / counts.sum()
    means = np.stack([part["mean"] for part in parts])
    squares = np.stack([part["std"] ** 2 + part["mean"] ** 2 for part in parts])
    mean = np.tensordot(shares, means, axes=1)
    variance = np.tensordot(shares, squares, axes=1) - mean**2
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(np.maximum(variance, 0.0)),
        "count": np.array([int(counts.sum())]),
    }


def _check_alike(first: Frames, frames: Frames) -> None:
    if frames.joint_names != first.joint_names:
        raise EpisodeError(f"{frames.path}: of another arm than {first.path}")
    if frames.sizes != first.sizes:
        has, had = (_told(each.sizes) for each in (frames, first))
        raise EpisodeError(
            f"{frames.path}: has {has}, but {first.path} has {had}: convert them apart, or "
            "without images"
        )


def _told(sizes: dict[str, tuple[int, int]]) -> str:
    told = [f"camera {name} of {width} x {height}" for name, (height, width) in sizes.items()]
    return ", ".join(told) or "no images"


def _camera_key(camera: str) -> str:
    return f"observation.images.{camera}"


def _task(frames: Frames) -> str:
    """What the episode shows, in words."""
    return label_of(frames.episode.metadata).replace("_", " ")
