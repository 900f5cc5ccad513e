"""Validates episodes and data sets: is what was recorded whole, plausible and told only once?"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from moe_robot_control.demonstrations.bag import Bag, EpisodeError, find_bag, read_bag
from moe_robot_control.demonstrations.episode import (
    Episode,
    episode_files,
    episode_of,
    is_of_graph,
)
from moe_robot_control.demonstrations.recording import Recording, align
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    ALL_SCENARIOS,
    DECISION_PERIOD,
    SKILLS,
)

ERROR, WARNING = "error", "warning"
FEWEST_STEPS = 10
"""Shorter episodes show nothing."""
LOWEST_RATES = {"joint_states": 18.0, "objects/visible": 16.0, "command/source": 15.0}
"""Of topics that come all the time [Hz]; cameras: `LOWEST_FRAME_RATE`."""
LOWEST_FRAME_RATE = 8.0
SILENCE = 0.5
"""Longest time without a message of a topic that comes all the time [s]."""
FROZEN = 1.0
"""Longest time with the same joint state or image while the arm is sent somewhere [s]."""
MOVING = 0.02
"""Commanded speeds above move the arm [m/s]."""
MISSING_SHARE = 0.02
"""Of decisions, more are too many."""
UNEVEN = 3.0
"""Lengths further from the median than by this factor are odd."""


@dataclass(frozen=True)
class Finding:
    """Something wrong (an error) or odd (a warning) with an episode."""

    level: str
    text: str


@dataclass
class EpisodeReport:
    """What a check found.

    Attributes:
        path: of the MCAP file.
        episode: its arrays; None where it cannot be read.
        metadata: as recorded.
        rates: of its topics [Hz].
        findings: errors first.
    """

    path: Path
    episode: Episode | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(finding.level == ERROR for finding in self.findings)

    def add(self, level: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, text))
        self.findings.sort(key=lambda finding: finding.level != ERROR)


def check_episode(path: str | Path) -> EpisodeReport:
    """Check an episode by itself; whatever is wrong is a finding, not raised."""
    report = EpisodeReport(Path(path))
    try:
        report.path = find_bag(path)
        bag = read_bag(path)
        report.metadata = bag.metadata
        for text in bag.damage:
            report.add(ERROR, f"{text} (`demos repair` keeps what is whole)")
        _check_metadata(bag, report)
        recording = align(bag) if is_of_graph(bag) else None
        if recording is not None:
            _check_recording(recording, report)
        report.episode = episode_of(bag, recording)
    except MoeRobotControlError as error:
        report.add(ERROR, str(error).removeprefix(f"{report.path}: "))
        return report
    _check_actions(report.episode, report)
    _check_topics(bag, recording, report)
    return report


def check_set(paths: Iterable[str | Path]) -> list[EpisodeReport]:
    """Check all episodes below folders, and whether they go together.

    Raises:
        EpisodeError: there are none.
    """
    files = [file for path in paths for file in episode_files(Path(path))]
    if not files:
        raise EpisodeError(f"{', '.join(map(str, paths))}: no episodes (*.mcap) there")
    reports = [check_episode(path) for path in files]
    _find_duplicates(reports)
    _compare_lengths(reports)
    return reports


def label_of(metadata: dict[str, str]) -> str:
    """What an episode shows: a skill, `scenario <k>`, or `unnamed`."""
    if metadata.get("skill"):
        return metadata["skill"]
    return f"scenario {metadata['scenario']}" if metadata.get("scenario") else "unnamed"


def fingerprint(episode: Episode) -> str:
    """Equal for episodes of equal content, whenever and wherever they were written."""
    digest = hashlib.sha256()
    for array in (episode.scene.end_effector, episode.scene.positions, episode.actions):
        digest.update(np.round(array, 9).tobytes())
    return digest.hexdigest()


def _check_metadata(bag: Bag, report: EpisodeReport) -> None:
    told = bag.metadata
    if not (bag.path.parent / "metadata.yaml").is_file():
        report.add(WARNING, "no metadata.yaml: recording was cut off (`demos repair` writes it)")
    if told.get("skill"):
        if told["skill"] not in SKILLS:
            report.add(ERROR, f"unknown skill {told['skill']!r}")
    elif told.get("scenario"):
        if told["scenario"] not in map(str, ALL_SCENARIOS):
            report.add(ERROR, f"unknown scenario {told['scenario']!r}")
    else:
        report.add(WARNING, "tells neither skill nor scenario")
    if told.get("success", "").lower() not in ("true", "false"):
        report.add(WARNING, "does not tell whether it succeeded")
    for key, what in (("dropped", "dropped by the recorder"), ("lost", "lost on the way to it")):
        if told.get(key, "0") not in ("0", ""):
            report.add(WARNING, f"{told[key]} messages were {what}")


def _check_recording(recording: Recording, report: EpisodeReport) -> None:
    missing, longest = int(recording.gaps.sum()), int(recording.gaps.max())
    total = len(recording) + missing
    if missing > MISSING_SHARE * total:
        seconds = longest * DECISION_PERIOD
        report.add(
            WARNING,
            f"{missing} of {total} decisions are missing, the longest gap is {seconds:.2f} s",
        )
    if recording.incomplete > MISSING_SHARE * total:
        report.add(WARNING, f"{recording.incomplete} scenes are incomplete")
    for topic, count in recording.undecodable.items():
        report.add(ERROR, f"{topic}: {count} messages cannot be decoded")
    idle = int((~recording.commanded).sum())
    if idle > len(recording) / 2:
        report.add(WARNING, f"nobody commanded the arm in {idle} of {len(recording)} steps")


def _check_actions(episode: Episode, report: EpisodeReport) -> None:
    if len(episode) < FEWEST_STEPS:
        report.add(ERROR, f"only {len(episode)} steps")
    if not all(map(_is_finite, (episode.actions, episode.weights, episode.scene.positions))):
        report.add(ERROR, "values are not finite")
        return
    outside = (episode.actions < ACTION_LOW - 1e-6) | (episode.actions > ACTION_HIGH + 1e-6)
    if outside.any():
        step = int(np.argmax(outside.any(axis=1)))
        axis = ("vx", "vy", "vz", "gripper")[int(np.argmax(outside[step]))]
        value = episode.actions[step][outside[step]][0]
        report.add(
            ERROR,
            f"{int(outside.any(axis=1).sum())} actions are out of range, first at step {step}: "
            f"{axis} = {value:.4g}",
        )
    if not (np.abs(episode.actions[:, :3]) > MOVING).any():
        report.add(WARNING, "the arm is never sent anywhere")
    sums = episode.weights.sum(axis=1)
    if (sums < 1e-6).all():
        report.add(WARNING, "no weights of the experts: no demonstration for the gate")
    elif ((episode.weights < -1e-6).any(axis=1) | (np.abs(sums - 1.0) > 1e-3)).any():
        report.add(WARNING, "weights of the experts do not add up to one in every step")
    if (np.diff(episode.stamps) <= 0).any():
        report.add(ERROR, "time does not go on in every step")


def _check_topics(bag: Bag, recording: Recording | None, report: EpisodeReport) -> None:
    """Rates, silences, repetitions, and sources that keep saying the same; by their stamps."""
    stamps: dict[str, list[int]] = defaultdict(list)
    contents: dict[str, list[int]] = defaultdict(list)
    for message in bag.messages:
        topic = message.topic.lstrip("/")
        stamps[topic].append(message.publish_time)
        if topic == "joint_states" or _is_image(topic):
            # without the stamp, which changes though the sensor is stuck
            contents[topic].append(hash(message.data[12:]))
    steady = {topic: _lowest_rate(topic) for topic in stamps if _lowest_rate(topic)}
    begin = min((stamps[topic][0] for topic in steady), default=0)
    end = max((max(stamps[topic]) for topic in steady), default=0)
    moving = _moving_stamps(recording)
    for topic, when in stamps.items():
        span = (max(when) - min(when)) * 1e-9
        rate = report.rates[topic] = (len(when) - 1) / span if span > 0 else 0.0
        if topic not in steady:
            continue
        if rate < steady[topic]:
            report.add(WARNING, f"{topic}: {rate:.1f} Hz, less than {steady[topic]:g} Hz")
        silence = float(np.diff([begin, *sorted(when), end]).max()) * 1e-9
        if silence > SILENCE:
            report.add(WARNING, f"{topic}: stuck, nothing came for {silence:.1f} s")
        if topic in contents or topic == "objects/visible":
            repeated = len(when) - len(set(when))
            if repeated:
                report.add(WARNING, f"{topic}: {repeated} stamps come twice")
        if topic in contents:
            frozen = _longest_run(contents[topic], when, moving)
            if frozen > FROZEN:
                report.add(WARNING, f"{topic}: stuck, the same for {frozen:.1f} s in motion")
    for topic in LOWEST_RATES:
        if recording is not None and topic not in stamps:
            report.add(WARNING, f"{topic}: never came")


def _lowest_rate(topic: str) -> float | None:
    """Of a topic that comes all the time [Hz]; None of others."""
    return LOWEST_RATES.get(topic, LOWEST_FRAME_RATE if _is_image(topic) else None)


def _moving_stamps(recording: Recording | None) -> np.ndarray:
    """Stamps [ns] of the decisions at which the arm was sent somewhere."""
    if recording is None:
        return np.array([], np.int64)
    sent = recording.commanded & (np.abs(recording.actions[:, :3]).max(axis=1) > MOVING)
    return np.round(recording.stamps[sent] * 1e9).astype(np.int64)


def _longest_run(contents: list[int], stamps: list[int], moving: np.ndarray) -> float:
    """Longest time in motion within which the same content came again and again [s]."""
    longest, begin = 0.0, 0
    for index in range(1, len(contents) + 1):
        if index == len(contents) or contents[index] != contents[begin]:
            first, last = np.searchsorted(moving, [stamps[begin], stamps[index - 1]])
            longest = max(longest, float(last - first) * DECISION_PERIOD)
            begin = index
    return longest


def _find_duplicates(reports: list[EpisodeReport]) -> None:
    prints: dict[str, EpisodeReport] = {}
    seeds: dict[tuple[str, ...], EpisodeReport] = {}
    for report in reports:
        if report.episode is None:
            continue
        first = prints.setdefault(fingerprint(report.episode), report)
        if first is not report:
            report.add(ERROR, f"the same as {first.path.parent.name}")
            continue
        told = report.metadata
        keys = (told.get("seed", ""), told.get("operator", ""), told.get("source", ""))
        first = seeds.setdefault((label_of(told), *keys), report)
        if first is not report and told.get("seed"):
            report.add(WARNING, f"the same seed {told['seed']} as {first.path.parent.name}")


def _compare_lengths(reports: list[EpisodeReport]) -> None:
    groups: dict[str, list[EpisodeReport]] = defaultdict(list)
    for report in reports:
        if report.episode is not None:
            groups[label_of(report.metadata)].append(report)
    for label, group in groups.items():
        median = float(np.median([len(report.episode) for report in group]))
        for report in group if len(group) >= 4 else ():
            if not median / UNEVEN <= len(report.episode) <= median * UNEVEN:
                text = f"{len(report.episode)} steps, others of {label} have {median:.0f}"
                report.add(WARNING, text)


def _is_image(topic: str) -> bool:
    return topic.startswith("cameras/") and topic.endswith(("/compressed", "/image_raw"))


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
