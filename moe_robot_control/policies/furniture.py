"""What policies may know of the bench's furniture and parts: how they are made and move."""

from __future__ import annotations

import numpy as np

VIAL_WIDTH = 0.024
"""Opening of the gripper around the vial [m]."""
BUTTON_RADIUS = 0.022
HANDLE_HALF_LENGTH = 0.04
"""Of both handles, which lie along the bench's y axis when closed [m]."""
HINGE = np.array([-0.031, 0.030])
"""From the cabinet's mark to the door's hinge, horizontally [m]."""
CLOSED_HANDLE = np.array([-0.056, -0.110])
"""From the hinge to the handle of a closed door, horizontally [m]."""


def door_angle(handle: np.ndarray, cabinet: np.ndarray) -> np.ndarray:
    """How far the door is open [rad]; marks of shape (..., 3) -> (...), in [-pi, pi)."""
    radius = handle[..., :2] - (cabinet[..., :2] + HINGE)
    closed = np.arctan2(CLOSED_HANDLE[1], CLOSED_HANDLE[0])
    turned = closed - np.arctan2(radius[..., 1], radius[..., 0])
    return (turned + np.pi) % (2.0 * np.pi) - np.pi


def door_axes(angle: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Directions out of the door and along its handle, both horizontal; (...) -> (..., 3)."""
    cosine, sine, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    outward = np.stack([-cosine, sine, zero], axis=-1)
    along = np.stack([-sine, -cosine, zero], axis=-1)
    return outward, along


def door_handle_at(angle: float, cabinet: np.ndarray) -> np.ndarray:
    """Where the handle of a door this far open is, horizontally [m]; (3,) -> (2,)."""
    outward, along = door_axes(angle)
    reach = -CLOSED_HANDLE[0] * outward - CLOSED_HANDLE[1] * along
    return cabinet[:2] + HINGE + reach[:2]
