"""Film and plot of a run: what the camera saw, where objects were found, how the gate chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import cv2
import matplotlib.figure
import numpy as np

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.perception.camera import Camera, CameraIntrinsics
from moe_robot_control.perception.overlay import draw_positions
from moe_robot_control.policies.spaces import DECISION_PERIOD, SKILLS

VIEW = 512
"""Side of the camera's view in the film [px]."""
PANEL = 300
"""Width of the panel with the weights [px]."""
COLOURS: tuple[tuple[int, int, int], ...] = (
    (76, 114, 176), (221, 132, 82), (85, 168, 104), (196, 78, 82),
    (129, 114, 179), (218, 139, 195), (140, 140, 60),
)  # fmt: skip
"""RGB colour of each skill, in film and plot."""


class FilmError(MoeRobotControlError):
    """The film cannot be written."""


class Film:
    """An MP4 of frames at the pace of the decisions; use as a context manager."""

    def __init__(self, path: Path, camera: Camera) -> None:
        """Open the file.

        Args:
            path: of the MP4.
            camera: that took the images.

        Raises:
            FilmError: no encoder, or the folder cannot be written to.
        """
        self._camera = Camera(_enlarged(camera.intrinsics), camera.extrinsics)
        size = (VIEW + PANEL, VIEW)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), code, 1.0 / DECISION_PERIOD, size)
        if not self._writer.isOpened():
            raise FilmError(f"{path}: cannot be written as MP4")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.release()

    def add(
        self,
        image: np.ndarray,
        positions: Mapping[str, np.ndarray],
        weights: Mapping[str, float],
        title: str,
        time: float,
    ) -> np.ndarray:
        """Append a frame, and return it as RGB.

        Args:
            image: of the camera, RGB, uint8.
            positions: found objects, base frame [m].
            weights: the gate's weights by skill.
            title: first line of the panel.
            time: since the episode's beginning [s].
        """
        view = cv2.resize(image, (VIEW, VIEW), interpolation=cv2.INTER_CUBIC)
        view = draw_positions(view, self._camera, positions)
        frame = np.hstack([view, _panel(weights, title, time)])
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return frame


def _enlarged(intrinsics: CameraIntrinsics) -> CameraIntrinsics:
    return intrinsics.resized(VIEW, VIEW)


def _panel(weights: Mapping[str, float], title: str, time: float) -> np.ndarray:
    panel = np.full((VIEW, PANEL, 3), 24, dtype=np.uint8)

    def write(text: str, x: int, y: int, scale: float, ink: tuple[int, int, int]) -> None:
        cv2.putText(panel, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)

    write(title, 16, 32, 0.55, (255, 255, 255))
    write(f"{time:5.1f} s", 16, 58, 0.5, (190, 190, 190))
    for index, skill in enumerate(SKILLS):
        top = 84 + index * 60
        weight = float(np.clip(weights.get(skill, 0.0), 0.0, 1.0))
        write(skill, 16, top + 12, 0.45, (235, 235, 235))
        write(f"{weight:.2f}", PANEL - 56, top + 12, 0.45, (235, 235, 235))
        cv2.rectangle(panel, (16, top + 20), (PANEL - 16, top + 38), (60, 60, 60), -1)
        end = 16 + round(weight * (PANEL - 32))
        cv2.rectangle(panel, (16, top + 20), (end, top + 38), COLOURS[index], -1)
    return panel


def plot_weights(
    path: Path, runs: Sequence[tuple[str, np.ndarray, np.ndarray]], columns: int = 1
) -> None:
    """Write a picture of the gate's weights over time, one row a run.

    Args:
        path: of the picture.
        runs: title, times [s] (T,), weights (T, 7) of each.
        columns: of the legend's entries below.
    """
    figure = matplotlib.figure.Figure(figsize=(9, 1.2 + 1.35 * len(runs)), layout="constrained")
    axes = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
    colours = [tuple(channel / 255 for channel in colour) for colour in COLOURS]
    for axis, (title, times, weights) in zip(axes, runs, strict=True):
        bands = axis.stackplot(times, weights.T, colors=colours, labels=SKILLS)
        axis.set(ylim=(0, 1), xlim=(0, max(float(times[-1]), 1e-3)), ylabel="weight")
        axis.set_title(title, fontsize=9, loc="left")
    axes[-1].set_xlabel("time [s]")
    figure.legend(bands, SKILLS, loc="outside lower center", ncols=max(4, columns), fontsize=8)
    figure.savefig(path, dpi=130)
