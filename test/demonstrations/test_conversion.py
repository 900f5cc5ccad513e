"""Data sets in the formats of LeRobot and robomimic, read back by code other than ours."""

from __future__ import annotations

import json
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from graph_recordings import Script, write_recording

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.episode import episode_files, read_episode
from moe_robot_control.demonstrations.frames import read_frames
from moe_robot_control.demonstrations.lerobot import write_lerobot
from moe_robot_control.demonstrations.robomimic import write_robomimic
from moe_robot_control.policies.spaces import ACTION_HIGH, ACTION_LOW

SKILLS = ("unbox", "push_button", "unbox")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for number, skill in enumerate(SKILLS):
        success = "false" if number == 1 else "true"
        facts = dict(Script().metadata) | {"skill": skill, "success": success}
        write_recording(
            folder / f"episode_{number}", Script(1.0 + 0.2 * number, facts, seed=number)
        )
    return folder


def pictured(pixels: np.ndarray) -> int:
    """Where the red ball of a test picture is [px]."""
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 100)
    return round(float(np.flatnonzero(red.any(axis=0)).mean()))


def follows(where: list[int]) -> None:
    """The ball goes a pixel a step, as well as compressed colours tell."""
    np.testing.assert_allclose(where, 8 + np.arange(len(where)), atol=2)


def test_frames(source: Path) -> None:
    frames = read_frames(source / "episode_2")
    assert frames.sizes == {"front": (48, 64)} and frames.joints.shape == (len(frames), 7)
    assert frames.distances["front"].max() < 1e-6
    where = [pictured(frames.image("front", step)) for step in range(len(frames))]
    follows(where)
    assert read_frames(source / "episode_2", images=False).sizes == {}


def test_lerobot(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "lerobot"
    words = ["demos", "convert", str(source), "--to", "lerobot", "--output", str(target)]
    assert main(words) == 0
    episodes = [read_episode(path) for path in episode_files(source)]
    total = sum(map(len, episodes))
    info = json.loads((target / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20
    assert info["total_episodes"] == 3 and info["total_frames"] == total
    assert info["total_tasks"] == 2 and info["splits"] == {"train": "0:3"}

    tasks = pq.read_table(target / "meta/tasks.parquet").to_pydict()
    named = dict(zip(tasks["task_index"], tasks["task"], strict=True))
    assert named == {0: "unbox", 1: "push button"}

    rows = pq.read_table(target / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for number, (row, episode) in enumerate(zip(rows, episodes, strict=True)):
        place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        table = pq.read_table(target / info["data_path"].format(**place)).to_pydict()
        assert row["length"] == len(episode) == len(table["index"])
        assert table["index"] == list(range(row["dataset_from_index"], row["dataset_to_index"]))
        assert set(table["episode_index"]) == {number}
        assert row["tasks"] == [named[table["task_index"][0]]] == [SKILLS[number].replace("_", " ")]
        np.testing.assert_allclose(table["timestamp"], np.arange(len(episode)) / 20, atol=1e-6)
        np.testing.assert_allclose(table["action"], episode.actions, atol=1e-6)
        state = np.array(table["observation.state"])
        np.testing.assert_allclose(state[:, -3:], episode.scene.end_effector, atol=1e-6)
        assert table["next.success"][-1] is (number != 1) and not any(table["next.success"][:-1])
        mean = row["stats/action/mean"]
        np.testing.assert_allclose(mean, np.array(table["action"]).mean(axis=0), atol=1e-6)
        for name, feature in info["features"].items():
            if feature["dtype"] != "video" and len(feature["names"] or []) > 1:
                assert np.shape(table[name]) == (len(episode), *feature["shape"])
        key = "observation.images.front"
        place = {name: row[f"videos/{key}/{name}"] for name in place}
        with av.open(str(target / info["video_path"].format(video_key=key, **place))) as video:
            stream = video.streams.video[0]
            assert stream.average_rate == 20 and stream.codec_context.name == "h264"
            pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
        assert len(pictures) == len(episode)
        assert [*pictures[0].shape] == info["features"][key]["shape"]
        where = [pictured(picture) for picture in pictures]
        follows(where)
    assert rows[-1]["dataset_to_index"] == total

    stats = json.loads((target / "meta/stats.json").read_text())
    actions = np.concatenate([episode.actions for episode in episodes])
    for name, value in (
        ("mean", actions.mean(0)),
        ("std", actions.std(0)),
        ("max", actions.max(0)),
    ):
        np.testing.assert_allclose(stats["action"][name], value, atol=1e-5)
    assert stats["action"]["count"] == [total]
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)


def test_robomimic(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "set.hdf5"
    words = ["demos", "convert", str(source), "--to", "robomimic", "--output", str(target)]
    assert main(words) == 0
    episodes = [read_episode(path) for path in episode_files(source)]
    with h5py.File(target) as file:
        data = file["data"]
        assert data.attrs["total"] == sum(map(len, episodes)) and len(data) == 3
        environment = json.loads(data.attrs["env_args"])
        assert environment["env_name"] == "moe_robot_control/Unbox-v0" and environment["type"] == 2
        for number, episode in enumerate(episodes):
            demo, count = data[f"demo_{number}"], len(episode)
            assert demo.attrs["num_samples"] == count
            actions = np.array(demo["actions"])
            assert actions.shape == (count, 4) and np.abs(actions).max() <= 1.0
            back = ACTION_LOW + (actions + 1.0) / 2.0 * (ACTION_HIGH - ACTION_LOW)
            np.testing.assert_allclose(back, episode.actions, atol=1e-6)
            np.testing.assert_allclose(
                demo["action_dict/velocity"], episode.actions[:, :3], atol=1e-6
            )
            for name, rows in demo["obs"].items():
                assert len(rows) == count
                np.testing.assert_array_equal(demo["next_obs"][name][:-1], rows[1:])
            assert demo["obs/front_image"].dtype == np.uint8
            assert demo["obs/front_image"].shape == (count, 48, 64, 3)
            assert demo["dones"][:].tolist() == [0] * (count - 1) + [1]
            assert demo["rewards"][:].sum() == (number != 1)
        masks = {name: {key.decode() for key in file["mask"][name]} for name in file["mask"]}
    assert masks["successful"] == {"demo_0", "demo_2"}
    assert len(masks["valid"]) == 1 and not masks["valid"] & masks["train"]
    assert masks["valid"] | masks["train"] == {"demo_0", "demo_1", "demo_2"}


def test_episodes_written_without_the_graph(tmp_path: Path) -> None:
    folder = Path("data/demonstrations/push_button")
    files = episode_files(Path(__file__).parents[2] / folder)[:2]
    assert write_lerobot(files, tmp_path / "set")["cameras"] == 0
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["video_path"] is None
    counts = write_robomimic(files, tmp_path / "set.hdf5")
    assert counts["frames"] == sum(len(read_episode(path)) for path in files)


@pytest.mark.parametrize("write", [write_lerobot, write_robomimic])
def test_nothing_is_overwritten_or_left_behind(write, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("precious")
    with pytest.raises(EpisodeError, match="exists already"):
        write(episode_files(source), target)
    assert target.read_text() == "precious"
    broken = tmp_path / "broken_0.mcap"
    broken.write_bytes(b"nothing")
    with pytest.raises(EpisodeError, match="not a readable MCAP file"):
        write([*episode_files(source), broken], tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"there", "broken_0.mcap"}
    with pytest.raises(EpisodeError, match="no episodes"):
        write([], tmp_path / "new")


def test_other_cameras_are_told(source: Path, tmp_path: Path) -> None:
    write_recording(tmp_path / "other", Script(1.0, cameras=("wrist",)))
    files = [*episode_files(source), *episode_files(tmp_path)]
    with pytest.raises(EpisodeError, match=r"has camera wrist of 64 x 48, but .* camera front"):
        write_lerobot(files, tmp_path / "set")
    assert write_lerobot(files, tmp_path / "set", images=False)["episodes"] == 4
