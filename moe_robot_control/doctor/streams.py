"""What was heard and seen of a running robot, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from moe_robot_control.perception.camera import CameraIntrinsics


@dataclass
class Stream:
    """Stamped messages of one topic, in the order of their arrival.

    Attributes:
        topic: where they were listened for.
        stamps: of the messages [ns].
        ages: from each stamp to the arrival, by this machine's clock [s].
        publishers: full names of the nodes that publish there.
        elsewhere: other topics of the same kind.
    """

    topic: str
    stamps: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    publishers: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    @property
    def span(self) -> float:
        """Time between the first and the last stamp [s]."""
        return (max(self.stamps) - min(self.stamps)) * 1e-9 if self.stamps else 0.0

    @property
    def rate(self) -> float:
        """Messages a second by their stamps, which do not jitter as arrivals do; 0: unknown."""
        steps = np.diff(np.sort(self.stamps))
        steps = steps[steps > 0]
        return float(1e9 / np.median(steps)) if steps.size else 0.0


@dataclass
class JointStream(Stream):
    """Joint states.

    Attributes:
        names, positions: of each message.
        has_velocities: whether each message tells velocities, too.
    """

    names: list[tuple[str, ...]] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    has_velocities: list[bool] = field(default_factory=list)


@dataclass
class CameraStream(Stream):
    """A camera's images.

    Attributes:
        sizes: width and height of each image [px].
        encodings: of each image.
        intrinsics: as `camera_info` says; None: nothing came.
        calibrated: whether `camera_info` holds a calibration.
        distortion: coefficients in `camera_info`.
    """

    sizes: list[tuple[int, int]] = field(default_factory=list)
    encodings: list[str] = field(default_factory=list)
    intrinsics: CameraIntrinsics | None = None
    calibrated: bool = True
    distortion: tuple[float, ...] = ()


@dataclass
class CommandTopic:
    """Who is at the ends of a topic of commands.

    Attributes:
        topic: its full name.
        kind: the message that the commander sends there.
        listeners: full names of the nodes that subscribe, with the message they expect.
        others: full names of the nodes that publish there, beside the commander.
    """

    topic: str
    kind: str
    listeners: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass
class CommanderState:
    """The velocity commander, where it runs.

    Attributes:
        running: whether there is such a node.
        level: of its diagnostics (diagnostic_msgs: 0 OK, 1 warning, 2 error); None: none came.
        message: of its diagnostics.
        dry_run: whether it says that it sends nothing to the arm.
    """

    running: bool = False
    level: int | None = None
    message: str = ""
    dry_run: bool = False


@dataclass
class EmergencyStop:
    """Who is at the ends of the emergency stop's topic.

    Attributes:
        topic: its full name.
        listeners: full names of the nodes that subscribe.
        publishers: full names of the nodes that publish.
        unheard: those of them that publish best effort, which the commander does not accept.
    """

    topic: str
    listeners: list[str] = field(default_factory=list)
    publishers: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)


@dataclass
class Robot:
    """All that was heard and seen of one arm.

    Attributes:
        joints: its joint states.
        cameras: its cameras by name.
        commands: where the commander's output and the gripper's opening go.
        commander: the commander itself.
        emergency_stop: the stop's topic.
        clocks: full names of the nodes that publish /clock.
    """

    joints: JointStream
    cameras: dict[str, CameraStream]
    commands: list[CommandTopic]
    commander: CommanderState
    emergency_stop: EmergencyStop
    clocks: list[str] = field(default_factory=list)
