"""Object positions from camera images: the pose network and what follows it."""

from __future__ import annotations

NETWORK_SIZE = 128
"""Width and height of the images that the network sees [px]."""
