"""Merging and splitting: every episode or message is in exactly one place, once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from graph_recordings import Script, write_recording

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.bag import EpisodeError, read_bag, write_bag
from moe_robot_control.demonstrations.episode import episode_files, read_episode
from moe_robot_control.demonstrations.sets import cut_recording, merge_sets, split_set


def make_set(folder: Path, skill: str, seeds: range) -> Path:
    for seed in seeds:
        facts = dict(Script().metadata) | {"skill": skill, "seed": str(seed)}
        write_recording(
            folder / skill / f"{skill}_{seed}", Script(0.6, facts, seed=seed + len(skill))
        )
    return folder


def names(folder: Path) -> list[str]:
    return [str(path.parent.relative_to(folder)) for path in episode_files(folder)]


def test_merge(tmp_path: Path) -> None:
    one = make_set(tmp_path / "one", "unbox", range(3))
    two = make_set(tmp_path / "two", "push_button", range(2))
    shutil.copytree(one / "unbox/unbox_1", two / "unbox/renamed")
    merge = merge_sets([one, two], tmp_path / "all")
    wanted = [f"push_button/push_button_{i}" for i in range(2)]
    wanted += [f"unbox/unbox_{i}" for i in range(3)]
    assert names(tmp_path / "all") == wanted
    assert [path.parent.name for path, _ in merge.duplicates] == ["renamed"]
    assert len(episode_files(one)) == 3 and len(episode_files(two)) == 3
    again = merge_sets([one, two], tmp_path / "all")
    assert again.copied == [] and len(again.duplicates) == 6


def test_other_content_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    one = make_set(tmp_path / "one", "unbox", range(1))
    write_recording(tmp_path / "two/unbox/unbox_0", Script(0.6, seed=50))
    with pytest.raises(EpisodeError, match="unbox_0: exists already"):
        merge_sets([one, tmp_path / "two"], tmp_path / "all")
    assert len(episode_files(tmp_path / "all")) == 1


def test_split(tmp_path: Path) -> None:
    source = make_set(make_set(tmp_path / "set", "unbox", range(5)), "push_button", range(4))
    train, validation = split_set(source, tmp_path / "parts", 0.2)
    assert len(train) == 7 and len(validation) == 2
    together = names(tmp_path / "parts/train") + names(tmp_path / "parts/validation")
    assert sorted(together) == names(source)
    held_out = {name.split("/")[0] for name in names(tmp_path / "parts/validation")}
    assert held_out == {"unbox", "push_button"}
    again = split_set(source, tmp_path / "again", 0.2)[1]
    assert [folder.name for folder in again] == [folder.name for folder in validation]
    with pytest.raises(EpisodeError, match="parts: exists already"):
        split_set(source, tmp_path / "parts", 0.2)
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(EpisodeError, match="fraction"):
            split_set(source, tmp_path / "more", fraction)


def test_cut_at_times(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "long", Script(3.0))
    parts = cut_recording(folder, tmp_path / "parts", [1.0, 2.0])
    bags = [read_bag(part) for part in parts]
    assert [each for bag in bags for each in bag.messages] == read_bag(folder).messages
    assert [len(read_episode(part)) for part in parts] == pytest.approx([20, 20, 20], abs=1)
    assert [bag.metadata["success"] for bag in bags] == ["unknown", "unknown", "true"]
    for times in ([5.0], [-1.0]):
        with pytest.raises(EpisodeError, match=r"long_0\.mcap: it lasts 3\.0 s"):
            cut_recording(folder, tmp_path / "none", times)


def test_cut_where_time_is_set_back(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "one", Script(1.0))
    with pytest.raises(EpisodeError, match="never set back"):
        cut_recording(folder, tmp_path / "parts")
    bag = read_bag(folder)
    later = [replace(each, log_time=each.log_time + 2 * 10**9) for each in bag.messages]
    write_bag(bag.path, bag.messages + later, bag.schemas, bag.metadata)
    with pytest.raises(EpisodeError, match="`demos split`"):
        read_episode(folder)
    parts = cut_recording(folder, tmp_path / "parts")
    assert [len(read_episode(part)) for part in parts] == [20, 20]


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(make_set(tmp_path / "set", "unbox", range(3)))
    everything = str(tmp_path / "all")
    assert main(["demos", "merge", source, source, "--output", everything]) == 0
    assert "3 episodes added, 3 left out" in capsys.readouterr().out
    parts = str(tmp_path / "parts")
    assert main(["demos", "split", everything, "--fraction", "0.34", "--output", parts]) == 0
    assert "2 episodes in train, 1 in validation" in capsys.readouterr().out
    one = f"{everything}/unbox/unbox_0"
    assert main(["demos", "split", one, "--at", "0.3", "--output", str(tmp_path / "cut")]) == 0
    assert len(episode_files(tmp_path / "cut")) == 2
