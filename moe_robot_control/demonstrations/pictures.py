"""Pictures of data sets: where the tip went, what was commanded, what the cameras saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_robot_control.demonstrations.bag import read_bag
from moe_robot_control.demonstrations.checks import EpisodeReport, label_of
from moe_robot_control.demonstrations.recording import Decoder
from moe_robot_control.demonstrations.statistics import ACTIONS
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW, DECISION_PERIOD, SKILLS

SHEET_ROWS, SHEET_COLUMNS = 16, 8
"""Of a contact sheet: episodes, and instants of each."""
THUMBNAIL = 144
"""Height [pixels]."""
_MARGIN, _CAPTION = 4, 20
_COLOURS = matplotlib.colormaps["tab10"].colors


def draw_trajectories(reports: Sequence[EpisodeReport], path: Path) -> None:
    """Paths of the tip from above and from the side: a dot begins, a cross ends them."""
    colours = _colours(reports)
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    above, side = figure.subplots(1, 2, width_ratios=(2, 1))
    for report in reports:
        tip = report.episode.scene.end_effector
        label = label_of(report.metadata)
        failed = report.episode.metadata.get("success") == "False"
        for axes, (across, up) in ((above, (1, 0)), (side, (0, 2))):
            style = {"color": colours[label], "alpha": 0.7, "lw": 1.0}
            axes.plot(tip[:, across], tip[:, up], ls=":" if failed else "-", **style)
            axes.plot(tip[0, across], tip[0, up], "o", ms=3, color=colours[label])
            axes.plot(tip[-1, across], tip[-1, up], "x", ms=5, color=colours[label])
    for axes, title, names in (
        (above, "from above", ("y (left) [m]", "x (forward) [m]")),
        (side, "from the side", ("x (forward) [m]", "z (up) [m]")),
    ):
        axes.set(title=f"End effector {title}", xlabel=names[0], ylabel=names[1], aspect="equal")
        axes.grid(alpha=0.3)
    above.invert_xaxis()
    handles = [side.plot([], [], color=colour, label=label)[0] for label, colour in colours.items()]
    note = ", dotted: failed" if any(_failed(report) for report in reports) else ""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        title=f"{len(reports)} episodes: a dot begins, a cross ends{note}",
    )
    figure.savefig(path, dpi=110)


def draw_actions(reports: Sequence[EpisodeReport], path: Path) -> None:
    """Histograms of the commanded velocities and gripper openings, with their limits."""
    colours = _colours(reports)
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    for axis, axes in enumerate(figure.subplots(2, 2).flat):
        room = 0.05 * (ACTION_HIGH[axis] - ACTION_LOW[axis])
        bins = np.linspace(ACTION_LOW[axis] - room, ACTION_HIGH[axis] + room, 56)
        values = {
            label: np.concatenate(
                [
                    each.episode.actions[:, axis]
                    for each in reports
                    if label_of(each.metadata) == label
                ]
            )
            for label in colours
        }
        axes.hist(
            [np.clip(each, bins[0], bins[-1]) for each in values.values()],
            bins,
            stacked=True,
            color=list(colours.values()),
            label=list(values),
        )
        for limit in (ACTION_LOW[axis], ACTION_HIGH[axis]):
            axes.axvline(limit, color="0.3", ls="--", lw=1)
        axes.set(xlabel=ACTIONS[axis], ylabel="steps")
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title="dashed: limits")
    figure.savefig(path, dpi=110)


def draw_timeline(report: EpisodeReport, path: Path) -> None:
    """One episode over time: velocity, gripper, weights; shaded where an operator commanded."""
    episode = report.episode
    time = episode.stamps - episode.stamps[0]
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    velocity, gripper, weights = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    for axis, name in enumerate("xyz"):
        velocity.plot(time, episode.actions[:, axis], lw=1, label=f"v{name}")
    velocity.set(ylabel="commanded [m/s]", title=report.path.parent.name)
    gripper.plot(time, 1e3 * episode.actions[:, 3], lw=1, label="commanded")
    gripper.plot(time, 1e3 * episode.scene.gripper_width, lw=1, label="measured")
    gripper.set(ylabel="opening [mm]")
    used = episode.weights.max(axis=0) > 1e-3
    weights.stackplot(
        time,
        episode.weights.T[used],
        labels=[name for name, here in zip(SKILLS, used, strict=True) if here],
        colors=[_COLOURS[index] for index in np.flatnonzero(used)],
    )
    weights.set(ylabel="weights", xlabel="time [s]", ylim=(0, 1.02))
    for axes in (velocity, gripper, weights):
        _shade(axes, time, episode.operator)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    figure.savefig(path, dpi=110)


def draw_contact_sheet(reports: Sequence[EpisodeReport], path: Path) -> int:
    """Camera images of episodes, one row each, from their beginning to their end.

    Returns:
        How many episodes have images; with none, no file is written.
    """
    rows = []
    for report in reports:
        row = _row(report)
        if row is not None:
            rows.append(row)
        if len(rows) == SHEET_ROWS:
            break
    if not rows:
        return 0
    width = max(row.shape[1] for row in rows)
    padded = [
        cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=_WHITE)
        for row in rows
    ]
    cv2.imwrite(str(path), np.concatenate(padded))
    return len(rows)


_WHITE = (255, 255, 255)


def _row(report: EpisodeReport) -> np.ndarray | None:
    """Caption and thumbnails (BGR) of one episode; None where it has no images."""
    topics = sorted(topic for topic in report.rates if topic.endswith("/compressed"))
    if not topics:
        return None
    images = list(_images(report.path, topics[0]))
    if not images:
        return None
    chosen = np.linspace(0, len(images) - 1, SHEET_COLUMNS).round().astype(int)
    thumbnails = []
    for index in chosen:
        pixels = cv2.imdecode(np.frombuffer(images[index][1], np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            continue
        seconds = (images[index][0] - images[0][0]) * 1e-9
        size = round(pixels.shape[1] * THUMBNAIL / pixels.shape[0]), THUMBNAIL
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        _write(small, f"{seconds:.1f} s", (4, THUMBNAIL - 6), _WHITE)
        border = cv2.BORDER_CONSTANT
        thumbnails.append(cv2.copyMakeBorder(small, 0, _MARGIN, 0, _MARGIN, border, value=_WHITE))
    if not thumbnails:
        return None
    row = np.concatenate(thumbnails, axis=1)
    caption = np.full((_CAPTION, row.shape[1], 3), 255, np.uint8)
    success = {"True": "success", "False": "failure"}.get(
        report.episode.metadata.get("success", ""), "success unknown"
    )
    facts = f"{report.path.parent.name}: {success}, {len(report.episode) * DECISION_PERIOD:.1f} s"
    _write(caption, f"{facts}, {topics[0].split('/')[1]}", (4, _CAPTION - 6), (0, 0, 0))
    return np.concatenate([caption, row])


def _images(path: Path, topic: str) -> Iterator[tuple[int, bytes]]:
    """Stamp [ns] and JPEG of every image of a camera."""
    bag = read_bag(path, lambda name: name.lstrip("/") == topic)
    decode = Decoder(bag)
    for message in bag.messages:
        content = decode(message)
        if content is not None:
            yield message.publish_time, bytes(content.data)


def _write(image: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    if colour == _WHITE:
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _colours(reports: Sequence[EpisodeReport]) -> dict[str, tuple[float, ...]]:
    labels = sorted({label_of(report.metadata) for report in reports})
    return {label: _COLOURS[index % len(_COLOURS)] for index, label in enumerate(labels)}


def _failed(report: EpisodeReport) -> bool:
    return report.episode.metadata.get("success") == "False"


def _shade(axes: Axes, time: np.ndarray, operator: np.ndarray | None) -> None:
    if operator is None or not operator.any():
        return
    bounds = np.diff(np.concatenate([[0], operator.astype(int), [0]]))
    begins, ends = np.flatnonzero(bounds == 1), np.flatnonzero(bounds == -1) - 1
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        label = None if number else "operator"
        axes.axvspan(time[begin], time[end], color="0.5", alpha=0.15, lw=0, label=label)
