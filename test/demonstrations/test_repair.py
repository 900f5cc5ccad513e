"""Repaired episodes are whole, and the originals are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from graph_recordings import Script, write_recording
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.bag import EpisodeError, read_bag
from moe_robot_control.demonstrations.checks import check_episode
from moe_robot_control.demonstrations.repair import repair_episode


def age(path: Path) -> None:
    """Written to a minute ago."""
    then = path.stat().st_mtime - 60
    os.utime(path, (then, then))


def damaged(folder: Path) -> Path:
    """An episode whose recorder was killed."""
    path = write_recording(folder, Script(1.0)) / f"{folder.name}_0.mcap"
    path.write_bytes(path.read_bytes()[:-2500])
    (folder / "metadata.yaml").unlink()
    age(path)
    return path


def test_all_that_is_whole_is_kept(tmp_path: Path) -> None:
    path = damaged(tmp_path / "one")
    content = path.read_bytes()
    before = read_bag(path)
    repair = repair_episode(path.parent)
    assert repair.original.read_bytes() == content
    assert repair.messages == len(before.messages) > 100
    assert "cut off" in repair.damage[0] and repair.damage[-1] == "no metadata.yaml"
    after = read_bag(path)
    assert after.damage == [] and after.messages == before.messages
    assert after.metadata["skill"] == "push_button" and "cut off" in after.metadata["repaired"]
    with path.open("rb") as stream:
        assert len(list(make_reader(stream).iter_messages())) == repair.messages
    with AnyReader([path.parent], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        assert reader.message_count == repair.messages
    assert not check_episode(path.parent).errors
    assert len(list(tmp_path.rglob("*.mcap"))) == 1
    assert repair_episode(path).original is None  # nothing left to do


def test_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "one", Script(0.5)) / "one_0.mcap"
    before = path.stat()
    assert repair_episode(path).damage == ()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(list(path.parent.iterdir())) == 2


def test_nothing_is_repaired_while_it_is_recorded(tmp_path: Path) -> None:
    path = damaged(tmp_path / "one")
    os.utime(path)
    with pytest.raises(EpisodeError, match="still being recorded"):
        repair_episode(path)
    assert repair_episode(path, force=True).original is not None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(tmp_path / "set/one")
    write_recording(tmp_path / "set/two", Script(0.3))
    assert main(["demos", "repair", str(tmp_path / "set")]) == 0
    assert "2 episodes: 1 repaired, 0 not" in capsys.readouterr().out
    (tmp_path / "set/bad").mkdir()
    (tmp_path / "set/bad/bad_0.mcap").write_bytes(b"rubbish")
    assert main(["demos", "repair", str(tmp_path / "set")]) == 1
    assert "bad_0.mcap: not a readable MCAP file" in capsys.readouterr().out
    assert (tmp_path / "set/bad/bad_0.mcap").read_bytes() == b"rubbish"
