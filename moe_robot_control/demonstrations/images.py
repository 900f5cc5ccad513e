"""Camera images to JPEG, from serialised message to serialised message."""

from __future__ import annotations

import struct

import cv2
import numpy as np

QUALITY = 90
"""JPEG's, 0 to 100."""

_TO_BGR = {
    "rgb8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGBA2BGR,
    "bgr8": None,
    "bgra8": cv2.COLOR_BGRA2BGR,
    "mono8": None,
}
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_CDR = b"\x00\x01\x00\x00"
"""Encapsulation of little-endian CDR; alignment counts from behind it."""


class ImageMessageError(ValueError):
    """A message that is no image which can be compressed."""


def compress_image(data: bytes, quality: int = QUALITY) -> bytes:
    """The serialised `CompressedImage` of a serialised `Image`, with its header.

    Working on the serialised form spares a copy of every pixel into Python's arrays.

    Args:
        data: `sensor_msgs/msg/Image` in little-endian CDR.
        quality: JPEG's, 0 to 100.

    Raises:
        ImageMessageError: cut off, or an encoding other than rgb8, bgr8, rgba8, bgra8, mono8.
    """
    try:
        stamp, frame, pixels, encoding = _parse(data)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise ImageMessageError(f"not a serialised image: {error}") from error
    conversion = _TO_BGR[encoding]
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageMessageError(f"an image of shape {pixels.shape} cannot be compressed")
    parts = bytearray(_CDR)
    parts += stamp
    for text in (frame, f"{encoding}; jpeg compressed {'mono8' if pixels.ndim == 2 else 'bgr8'}"):
        _put_text(parts, text.encode())
    _align(parts)
    parts += struct.pack("<I", jpeg.size)
    parts += jpeg.tobytes()
    return bytes(parts)


def _parse(data: bytes) -> tuple[bytes, str, np.ndarray, str]:
    """Stamp as serialised, frame, pixels and their encoding."""
    if data[1:2] != b"\x01":
        raise ValueError("not little-endian CDR")
    stamp = data[4:12]
    frame, at = _get_text(data, 12)
    at += -at % 4
    height, width = struct.unpack_from("<II", data, at)
    encoding, at = _get_text(data, at + 8)
    if encoding not in _CHANNELS:
        raise ValueError(f"encoding {encoding!r}, expected one of {', '.join(_CHANNELS)}")
    at += 1  # is_bigendian means nothing where a value has one byte
    at += -at % 4
    step, size = struct.unpack_from("<II", data, at)
    channels = _CHANNELS[encoding]
    if not height or step < width * channels or size < step * height:
        raise ValueError(f"{size} bytes of {height} rows of {step} bytes, {width} pixels each")
    rows = np.frombuffer(data, np.uint8, step * height, at + 8).reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return stamp, frame, pixels[..., 0] if channels == 1 else pixels, encoding


def _get_text(data: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<I", data, at)
    end = at + 4 + size
    if not 1 <= size <= len(data) - at - 4:
        raise ValueError(f"a text of {size} bytes")
    return data[at + 4 : end - 1].decode(), end


def _put_text(parts: bytearray, text: bytes) -> None:
    _align(parts)
    parts += struct.pack("<I", len(text) + 1) + text + b"\x00"


def _align(parts: bytearray) -> None:
    parts += bytes(-len(parts) % 4)
