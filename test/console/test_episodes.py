"""The list of recorded episodes, broken ones included."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap_ros2.writer import Writer

from moe_robot_control.console.episodes import THUMBNAIL_HEIGHT, recordings, thumbnail

IMAGE = """std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
TOPIC = "cameras/left/image_raw/compressed"


def write(folder: Path, facts: dict[str, str], images: int = 5, end: bool = True) -> Path:
    """An episode with images 1 s apart, each brighter than the one before."""
    folder.mkdir(parents=True)
    path = folder / f"{folder.name}_0.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=2000)
        schema = writer.register_msgdef("sensor_msgs/msg/CompressedImage", IMAGE)
        writer._writer.add_metadata("episode", facts)
        for i in range(images):
            pixels = np.full((64, 128, 3), 40 * i, np.uint8)
            stamp = {"sec": i, "nanosec": 0}
            message = {
                "header": {"stamp": stamp, "frame_id": ""},
                "format": "jpeg",
                "data": cv2.imencode(".jpg", pixels)[1].tobytes(),
            }
            writer.write_message(TOPIC, schema, message, i * 10**9, i * 10**9, i)
        if end:
            writer._writer.add_metadata("episode", facts | {"success": "true"})
            writer.finish()
    return path


def test_newest_first_with_what_is_known_of_them(tmp_path: Path) -> None:
    for age, name in ((100, "push_button/one"), (0, "push_button/two"), (50, "three")):
        path = write(tmp_path / name, {"skill": "push_button", "operator": "Ana"})
        os.utime(path, (10**9 - age, 10**9 - age))
    found = recordings(tmp_path)
    assert [r.name for r in found] == ["push_button/two", "three", "push_button/one"]
    assert found[0].duration == 4.0
    assert found[0].facts == {"skill": "push_button", "operator": "Ana", "success": "true"}


def test_no_folder_no_episodes(tmp_path: Path) -> None:
    assert recordings(tmp_path / "none") == []


def test_a_file_without_end_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "cut", {"skill": "unbox"}, end=False)
    (recording,) = recordings(tmp_path)
    assert (recording.duration, recording.facts) == (None, {"skill": "unbox"})
    assert thumbnail(tmp_path, "cut") is None


@pytest.mark.parametrize("content", [b"", b"no mcap at all", b"\x89MCAP0\r\n" + b"\xff" * 300])
def test_a_broken_file_harms_no_other(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "good", {"skill": "unbox"})
    broken = tmp_path / "broken" / "broken_0.mcap"
    broken.parent.mkdir()
    broken.write_bytes(content)
    assert {r.name: r.facts.get("skill") for r in recordings(tmp_path)} == {
        "good": "unbox",
        "broken": None,
    }
    assert thumbnail(tmp_path, "broken") is None


def test_damage_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path / "damaged", {"skill": "unbox"})
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for i in range(60):
        data = bytearray(whole)
        for at in generator.integers(len(data), size=20):
            data[at] = int(generator.integers(256))
        path.write_bytes(bytes(data) if i % 2 else whole[: int(generator.integers(len(whole)))])
        os.utime(path, (i, i))
        assert len(recordings(tmp_path)) == 1
        thumbnail(tmp_path, "damaged")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "growing", {}, end=False)
    assert recordings(tmp_path)[0].duration is None
    path.unlink()
    path.parent.rmdir()
    write(tmp_path / "growing", {})
    assert recordings(tmp_path)[0].duration == 4.0


def test_thumbnail_of_the_middle(tmp_path: Path) -> None:
    write(tmp_path / "skill" / "one", {})
    image = cv2.imdecode(np.frombuffer(thumbnail(tmp_path, "skill/one"), np.uint8), 1)
    assert image.shape == (THUMBNAIL_HEIGHT, 2 * THUMBNAIL_HEIGHT, 3)
    assert abs(float(image.mean()) - 80) < 5


@pytest.mark.parametrize("name", ["", "..", "../secret", "/etc", "none", "a\0b"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret", {})
    write(tmp_path / "recordings" / "one", {})
    assert thumbnail(tmp_path / "recordings", name) is None
