"""Drawing of estimated object positions on a camera's image."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from moe_robot_control.perception.camera import Camera
from moe_robot_control.policies.spaces import OBJECTS

PALETTE: tuple[tuple[int, int, int], ...] = (
    (255, 90, 70), (255, 215, 70), (90, 230, 120), (110, 150, 255), (255, 120, 230),
    (90, 235, 255), (255, 165, 60), (255, 255, 255), (230, 230, 110), (255, 60, 60),
    (150, 255, 150),
)  # fmt: skip
"""RGB colour of each object."""


def draw_positions(
    image: np.ndarray, camera: Camera, positions: Mapping[str, np.ndarray]
) -> np.ndarray:
    """A copy of an RGB image with a circle and a name at every object.

    Args:
        image: RGB, uint8.
        camera: calibrated for the image's size.
        positions: of objects by name, base frame [m]. Shape (3,) each.
    """
    canvas = image.copy()
    for name, position in positions.items():
        pixel = camera.project(position)
        if not np.isfinite(pixel).all():
            continue
        centre = round(float(pixel[0])), round(float(pixel[1]))
        colour = PALETTE[OBJECTS.index(name)]
        cv2.circle(canvas, centre, 5, colour, 1, cv2.LINE_AA)
        at = centre[0] + 7, centre[1] + 4
        for ink, thickness in ((0, 0, 0), 2), (colour, 1):
            cv2.putText(
                canvas, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.32, ink, thickness, cv2.LINE_AA
            )
    return canvas
