"""Images to JPEG, message to message."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from moe_robot_control.demonstrations.images import ImageMessageError, compress_image

STORE = get_typestore(Stores.ROS2_JAZZY)
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


def serialised(encoding: str, pixels: np.ndarray, frame: str = "left_optical_frame") -> bytes:
    types = STORE.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](12, 34), frame)
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, 5)))  # drivers pad their rows
    image = types["sensor_msgs/msg/Image"](
        header, height, width, encoding, 0, rows.shape[1], rows.ravel()
    )
    return bytes(STORE.serialize_cdr(image, "sensor_msgs/msg/Image"))


@pytest.mark.parametrize("encoding", CHANNELS)
@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "left_optical_frame"])
def test_pixels_and_header_survive(encoding: str, frame: str) -> None:
    colour = [200, 40, 90, 255][: CHANNELS[encoding]]
    pixels = np.broadcast_to(np.array(colour, np.uint8), (24, 31, len(colour)))
    data = compress_image(serialised(encoding, pixels, frame))
    message = STORE.deserialize_cdr(data, "sensor_msgs/msg/CompressedImage")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 34)
    assert message.header.frame_id == frame
    assert message.format.startswith(f"{encoding}; jpeg compressed")
    mode = cv2.IMREAD_GRAYSCALE if encoding == "mono8" else cv2.IMREAD_COLOR
    back = cv2.imdecode(message.data, mode).reshape(24, 31, -1)
    wanted = pixels[..., :3] if encoding.startswith("bgr") else pixels[..., 2::-1]
    wanted = pixels if encoding == "mono8" else wanted
    assert np.abs(back.astype(int) - wanted).max() <= 3


def test_what_is_no_image_is_refused() -> None:
    whole = serialised("rgb8", np.zeros((8, 8, 3), np.uint8))
    for size in range(len(whole) - 5):
        with pytest.raises(ImageMessageError):
            compress_image(whole[:size])
    with pytest.raises(ImageMessageError, match="16UC1"):
        compress_image(serialised("16UC1", np.zeros((8, 8, 2), np.uint8)))
    with pytest.raises(ImageMessageError, match="little-endian"):
        compress_image(b"\x00\x00" + whole[2:])
