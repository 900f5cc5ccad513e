"""The vocabulary that training and deployment share: skills, objects, observations, actions.

Frames and units: positions in metres in the arm's base frame (REP-103: x forward, y left,
z up), velocities in m/s, gripper opening in metres between the fingers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moe_robot_control.errors import MoeRobotControlError

SKILLS: tuple[str, ...] = (
    "rotate_door",
    "unbox",
    "pick_and_place",
    "pull_drawer",
    "pick_and_insert",
    "push_button",
    "pick_and_drop",
)
"""The skills in the order in which the whole job needs them."""

OBJECTS: tuple[str, ...] = (
    "door_handle",
    "cabinet",
    "lid",
    "box",
    "vial",
    "tray",
    "drawer_handle",
    "chest",
    "rack",
    "button",
    "bin",
)
"""The named points of the scene that perception reports."""

SKILL_OBJECTS: dict[str, tuple[str, ...]] = {
    "rotate_door": ("door_handle", "cabinet"),
    "unbox": ("lid", "box"),
    "pick_and_place": ("vial", "tray"),
    "pull_drawer": ("drawer_handle", "chest"),
    "pick_and_insert": ("vial", "rack"),
    "push_button": ("button",),
    "pick_and_drop": ("vial", "bin"),
}
"""The objects that each expert sees."""

NUM_SCENARIOS = len(SKILLS)
ALL_SCENARIOS = tuple(range(1, NUM_SCENARIOS + 1))
ACTION_SIZE = 4
MAX_SPEED = 0.25
"""Largest end-effector speed along each axis [m/s]."""
MAX_GRIPPER_WIDTH = 0.08
"""Largest opening between the fingers [m]."""
ACTION_LOW = np.array([-MAX_SPEED, -MAX_SPEED, -MAX_SPEED, 0.0])
ACTION_HIGH = np.array([MAX_SPEED, MAX_SPEED, MAX_SPEED, MAX_GRIPPER_WIDTH])
CONTROL_PERIOD = 0.01
"""Period of the velocity commander [s]."""
DECISION_PERIOD = 0.05
"""Period of observations, gate and experts [s]."""

for _limits in (ACTION_LOW, ACTION_HIGH):
    _limits.flags.writeable = False


class UnknownSkillError(MoeRobotControlError):
    """A name that is not one of `SKILLS`."""


def check_skill(skill: str) -> str:
    """Return `skill`, or raise `UnknownSkillError` naming the valid ones."""
    if skill not in SKILLS:
        raise UnknownSkillError(f"unknown skill {skill!r}: expected one of {', '.join(SKILLS)}")
    return skill


@dataclass(frozen=True)
class Scene:
    """What the policies know at one instant, or a batch of instants.

    Attributes:
        end_effector: point between the fingertips, base frame [m]. Shape (..., 3).
        gripper_width: opening between the fingers [m]. Shape (...).
        positions: objects in the order of `OBJECTS`, base frame [m]. Shape (..., 11, 3).
        known: whether a position has ever been seen. Shape (..., 11), bool.
    """

    end_effector: np.ndarray
    gripper_width: np.ndarray
    positions: np.ndarray
    known: np.ndarray


def observation_size(num_objects: int) -> int:
    """Length of an observation over `num_objects` objects."""
    return 4 + 4 * num_objects


def expert_observation_size(skill: str) -> int:
    """Length of the observation of the expert for `skill`."""
    return observation_size(len(SKILL_OBJECTS[check_skill(skill)]))


GATE_OBSERVATION_SIZE = observation_size(len(OBJECTS))


def expert_observation(scene: Scene, skill: str) -> np.ndarray:
    """Observation of one expert: end effector, gripper and its own objects only.

    Returns:
        [end effector (3), gripper width (1), then position (3) and known (1) for each of
        `SKILL_OBJECTS[skill]`]; unknown objects are all zeros. Shape (..., 4 + 4k).
    """
    return _observation(scene, SKILL_OBJECTS[check_skill(skill)])


SHARED_OBSERVATION_SIZE = observation_size(max(map(len, SKILL_OBJECTS.values())))


def shared_observation(scene: Scene, skill: str) -> np.ndarray:
    """`expert_observation` filled up with zeros to one length for all skills. (..., 12)."""
    own = expert_observation(scene, skill)
    room = SHARED_OBSERVATION_SIZE - own.shape[-1]
    return np.concatenate([own, np.zeros((*own.shape[:-1], room))], axis=-1)


def command_of(actions: np.ndarray) -> np.ndarray:
    """Actions in [-1, 1], clipped, to velocities [m/s] and gripper opening [m]. (..., 4)."""
    share = (np.clip(actions, -1.0, 1.0) + 1.0) / 2.0
    return ACTION_LOW + share * (ACTION_HIGH - ACTION_LOW)


def unit_action(commands: np.ndarray) -> np.ndarray:
    """What `command_of` makes these of: actions in [-1, 1]. (..., 4)."""
    return 2.0 * (commands - ACTION_LOW) / (ACTION_HIGH - ACTION_LOW) - 1.0


def gate_observation(scene: Scene) -> np.ndarray:
    """Observation of the manipulation network: the same over all objects. Shape (..., 48)."""
    return _observation(scene, OBJECTS)


def expert_columns(skill: str) -> list[int]:
    """Where the observation of the expert for `skill` is within `gate_observation`."""
    firsts = [observation_size(OBJECTS.index(name)) for name in SKILL_OBJECTS[check_skill(skill)]]
    return [0, 1, 2, 3, *(first + i for first in firsts for i in range(4))]


def _observation(scene: Scene, objects: Sequence[str]) -> np.ndarray:
    ids = [OBJECTS.index(name) for name in objects]
    known = np.asarray(scene.known, dtype=np.float64)[..., ids, None]
    positions = np.where(known > 0, np.asarray(scene.positions)[..., ids, :], 0.0)
    per_object = np.concatenate([positions, known], axis=-1)
    batch = per_object.shape[:-2]
    return np.concatenate(
        [
            np.asarray(scene.end_effector, dtype=np.float64),
            np.asarray(scene.gripper_width, dtype=np.float64)[..., None],
            per_object.reshape(*batch, -1),
        ],
        axis=-1,
    )
