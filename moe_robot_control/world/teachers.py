"""Scripted experts and a scripted gate: demonstrations when no operator is there.

Every teacher is a memoryless function of what its expert will see (its own objects, end
effector, gripper), so that it can be cloned, and corrects any deviation it is shown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moe_robot_control.policies.furniture import VIAL_WIDTH, door_angle, door_axes
from moe_robot_control.policies.spaces import (
    MAX_GRIPPER_WIDTH,
    MAX_SPEED,
    OBJECTS,
    SKILLS,
    Scene,
)

OPEN, CLOSED = MAX_GRIPPER_WIDTH, 0.0
GAIN = 4.0
"""Approach speed per distance [1/s]."""
PULL_SPEED = 0.15
TRAVEL_HEIGHT = 0.20
"""Height of the tip when it travels empty [m]."""
GRASP_DEPTH = 0.018
"""The tip grasps this far below the vial's top [m]."""
NEARBY = 0.12
"""Within this horizontal distance of their target the fingers take their shape for it [m]."""
VIAL_LENGTH = 0.08


def teach(skill: str, scene: Scene) -> np.ndarray:
    """The scripted expert's action for `skill`.

    Args:
        skill: one of `SKILLS`.
        scene: batch of scenes, leading axis n; the skill's objects must be known.

    Returns:
        Velocity [m/s] and gripper opening [m]. Shape (n, 4).
    """
    return _TEACHERS[skill](_Look(scene))


def teach_stage(stage: np.ndarray, scene: Scene) -> np.ndarray:
    """The action of the teacher whose skill is next in each scene.

    Args:
        stage: index of the next skill; 7 and above (all done) keeps the last. Shape (n,).
        scene: batch of scenes, leading axis n.

    Returns:
        Shape (n, 4).
    """
    stage = np.minimum(stage, len(SKILLS) - 1)
    action = np.zeros((len(stage), 4))
    for index in np.unique(stage):
        rows = stage == index
        part = Scene(
            scene.end_effector[rows],
            scene.gripper_width[rows],
            scene.positions[rows],
            scene.known[rows],
        )
        action[rows] = teach(SKILLS[index], part)
    return action


def teach_weights(stage: np.ndarray) -> np.ndarray:
    """The scripted gate: all weight on the skill that is next.

    Args:
        stage: index of the next skill; 7 and above (all done) keeps the last. Shape (n,).

    Returns:
        One-hot weights in the order of `SKILLS`. Shape (n, 7).
    """
    return np.eye(len(SKILLS))[np.minimum(stage, len(SKILLS) - 1)]


class _Look:
    """Named access to a batch of scenes."""

    def __init__(self, scene: Scene) -> None:
        self.tip = scene.end_effector
        self.width = scene.gripper_width
        self._positions = scene.positions

    def __getitem__(self, name: str) -> np.ndarray:
        return self._positions[:, OBJECTS.index(name)]


def _ramp(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at `start`, 1 at `end`, a smooth cubic between."""
    x = np.clip((value - start) / (end - start), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _cap(velocity: np.ndarray, speed: float = MAX_SPEED) -> np.ndarray:
    norm = np.linalg.norm(velocity, axis=-1, keepdims=True)
    return velocity * np.minimum(1.0, speed / np.maximum(norm, 1e-9))


def _reach(
    point: np.ndarray,
    target: np.ndarray,
    travel: np.ndarray | float = TRAVEL_HEIGHT,
    radius: float = 0.012,
) -> np.ndarray:
    """Velocity that takes `point` up, across and down onto `target`; shapes (n, 3).

    Far away it first rises to the height `travel`; near the target's vertical it descends, the
    lower the better it is aligned (full depth within `radius`).
    """
    offset = target - point
    distance = np.linalg.norm(offset[:, :2], axis=1)
    away = _ramp(distance, radius, radius + 0.03)
    height = target[:, 2] + away * (travel - target[:, 2])
    risen = _ramp(point[:, 2], travel - 0.05, travel - 0.01)
    across = np.maximum(1.0 - _ramp(distance, radius + 0.02, radius + 0.04), risen)
    velocity = GAIN * offset
    velocity[:, :2] *= across[:, None]
    velocity[:, 2] = GAIN * (height - point[:, 2])
    return np.concatenate([_cap(velocity[:, :2], 0.22), np.clip(velocity[:, 2:], -0.2, 0.2)], 1)


def _with_gripper(velocity: np.ndarray, opening: np.ndarray | float) -> np.ndarray:
    opening = np.broadcast_to(opening, velocity.shape[:1])
    return np.concatenate([np.clip(velocity, -MAX_SPEED, MAX_SPEED), opening[:, None]], axis=1)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + share[:, None] * (second - first)


def _closed_near(tip: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Opening that first leaves behind what stands between the fingers, then closes them."""
    return np.where(np.linalg.norm((tip - target)[:, :2], axis=1) < NEARBY, CLOSED, OPEN)


def _push_button(look: _Look) -> np.ndarray:
    target = look["button"] + [0.0, 0.0, -0.03]
    velocity = _reach(look.tip, target, radius=0.008)
    return _with_gripper(velocity, _closed_near(look.tip, target))


def _hooked(tip: np.ndarray, hook: np.ndarray, along: np.ndarray) -> np.ndarray:
    """How well the fingers stand behind a handle, 0 to 1; `along` is the handle's direction."""
    offset = tip - hook
    side = np.abs(np.einsum("ni,ni->n", offset, along))
    distance = np.linalg.norm(offset[:, :2], axis=1)
    deep = 1.0 - _ramp(offset[:, 2], 0.006, 0.012)
    return deep * (1.0 - _ramp(side, 0.015, 0.022)) * (1.0 - _ramp(distance, 0.022, 0.032))


def _pull_drawer(look: _Look) -> np.ndarray:
    handle = look["drawer_handle"]
    hook = handle + [0.023, 0.0, -0.016]
    along = np.broadcast_to([0.0, 1.0, 0.0], hook.shape)
    extension = look["chest"][:, 0] - handle[:, 0] - 0.108
    pull = GAIN * (hook - look.tip)
    pull[:, 0] = -PULL_SPEED * (1.0 - _ramp(extension, 0.10, 0.12))
    share = _hooked(look.tip, hook, along)
    velocity = _blend(_reach(look.tip, hook, radius=0.008), pull, share)
    return _with_gripper(velocity, _closed_near(look.tip, hook))


def _rotate_door(look: _Look) -> np.ndarray:
    handle = look["door_handle"]
    angle = door_angle(handle, look["cabinet"])
    outward, along = door_axes(angle)
    hook = handle - 0.023 * outward + [0.0, 0.0, -0.016]
    offset = hook - look.tip
    pull = GAIN * (offset - np.einsum("ni,ni->n", offset, outward)[:, None] * outward)
    pull += PULL_SPEED * (1.0 - _ramp(angle, 1.2, 1.4))[:, None] * outward
    share = _hooked(look.tip, hook, along)
    return _with_gripper(_blend(_reach(look.tip, hook, radius=0.008), pull, share), CLOSED)


def _unbox(look: _Look) -> np.ndarray:
    lid, box = look["lid"], look["box"]
    start = np.stack([lid[:, 0] - 0.035, lid[:, 1], box[:, 2] + 0.022], axis=1)
    push = GAIN * (start - look.tip)
    push[:, 0] = 0.13
    side = 1.0 - _ramp(np.abs(look.tip[:, 1] - start[:, 1]), 0.012, 0.022)
    low = 1.0 - _ramp(look.tip[:, 2] - start[:, 2], 0.005, 0.012)
    ahead = look.tip[:, 0] - start[:, 0]
    behind = _ramp(ahead, -0.03, -0.015) * (1.0 - _ramp(ahead, 0.06, 0.08))
    share = side * low * behind
    return _with_gripper(_blend(_reach(look.tip, start, radius=0.008), push, share), CLOSED)


def _carry(look: _Look, goal: np.ndarray, release_above: float, travel: float) -> np.ndarray:
    """Grasp the vial, carry its top to `goal`, let go once it is within `release_above` of it."""
    vial = look["vial"]
    grasp = vial + [0.0, 0.0, -GRASP_DEPTH]
    offset = look.tip - grasp
    beside = np.linalg.norm(offset[:, :2], axis=1)
    # fingers already on the vial hold on over a wider zone: what is seen of it is noisy
    grown = 0.018 * (1.0 - _ramp(look.width, 0.03, 0.05))
    around = (beside < 0.014 + grown) & (np.abs(offset[:, 2]) < 0.012 + grown)
    holding = around & (np.abs(look.width - VIAL_WIDTH) < 0.008)
    arrived = (np.linalg.norm((vial - goal)[:, :2], axis=1) < 0.012) & (
        vial[:, 2] < goal[:, 2] + release_above
    )
    approach = _reach(look.tip, grasp, radius=0.008)
    # the last of the descent waits for open fingers
    ready = _ramp(look.width, 0.05, 0.07)
    low = _ramp(look.tip[:, 2] - vial[:, 2], 0.03, 0.05)
    approach[:, 2] = np.where(
        approach[:, 2] < 0, approach[:, 2] * np.maximum(ready, low), approach[:, 2]
    )
    carry = _reach(vial, goal, travel=travel, radius=0.006)
    still = GAIN * (grasp - look.tip)
    velocity = np.where(around[:, None], still, approach)
    velocity = np.where(holding[:, None], carry, velocity)
    velocity = np.where(arrived[:, None], 0.0, velocity)
    # far from the vial the fingers stay closed: they may stand in a handle
    closed = (around & ~arrived) | (beside > NEARBY)
    opening = np.where(closed, CLOSED, OPEN)
    return _with_gripper(velocity, opening)


# Goals lie below the height of release: the vial arrives there in motion, so that nothing
# hovers about the moment of letting go.


def _pick_and_place(look: _Look) -> np.ndarray:
    goal = look["tray"] + [0.0, 0.0, VIAL_LENGTH - 0.015]
    return _carry(look, goal, release_above=0.026, travel=0.24)


def _pick_and_insert(look: _Look) -> np.ndarray:
    goal = look["rack"] + [0.0, 0.0, 0.026]
    return _carry(look, goal, release_above=0.025, travel=0.22)


def _pick_and_drop(look: _Look) -> np.ndarray:
    goal = look["bin"] + [0.0, 0.0, 0.135]
    return _carry(look, goal, release_above=0.035, travel=0.24)


_TEACHERS: dict[str, Callable[[_Look], np.ndarray]] = {
    "rotate_door": _rotate_door,
    "unbox": _unbox,
    "pick_and_place": _pick_and_place,
    "pull_drawer": _pull_drawer,
    "pick_and_insert": _pick_and_insert,
    "push_button": _push_button,
    "pick_and_drop": _pick_and_drop,
}
