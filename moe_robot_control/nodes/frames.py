"""Puts together the images that several cameras took at one instant."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class FrameCollector:
    """Keeps the newest image of each camera until all are of one instant.

    Stamps are integers [ns]. An image older than its camera's last one means that time was
    set back: images of the other cameras newer than it are dropped.
    """

    def __init__(self, cameras: Iterable[str], slop: float = 0.0) -> None:
        """Wait for `cameras`, whose stamps may differ by `slop` [s]."""
        self.cameras = tuple(cameras)
        self._slop = round(slop * 1e9)
        self._newest: dict[str, tuple[int, np.ndarray]] = {}

    def add(
        self, camera: str, stamp: int, image: np.ndarray
    ) -> tuple[int, dict[str, np.ndarray]] | None:
        """Take an image.

        Returns:
            The oldest stamp and all images, once every camera has one within the slop.
        """
        previous = self._newest.get(camera)
        if previous is not None and stamp < previous[0]:
            self._newest = {n: item for n, item in self._newest.items() if item[0] <= stamp}
        self._newest[camera] = stamp, image
        if len(self._newest) < len(self.cameras):
            return None
        stamps = [item[0] for item in self._newest.values()]
        if max(stamps) - min(stamps) > self._slop:
            return None
        images = {name: self._newest[name][1] for name in self.cameras}
        return min(stamps), images
