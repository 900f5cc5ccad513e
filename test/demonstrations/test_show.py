"""Statistics and pictures of data sets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from graph_recordings import Script, write_recording

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.checks import check_set
from moe_robot_control.demonstrations.pictures import THUMBNAIL
from moe_robot_control.demonstrations.statistics import statistics_of

FACTS = dict(Script().metadata)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_recording(tmp_path / "set/a", Script(1.0, FACTS, operator=(0.0, 0.5)))
    write_recording(tmp_path / "set/b", Script(2.0, FACTS | {"success": "false"}, seed=1))
    write_recording(tmp_path / "set/c", Script(1.0, FACTS | {"skill": "unbox"}, cameras=()))
    return tmp_path / "set"


def test_statistics(data: Path) -> None:
    found = statistics_of(check_set([data]))
    assert list(found) == ["push_button", "unbox"]
    buttons = found["push_button"]
    assert (buttons.episodes, buttons.successes, buttons.failures) == (2, 1, 1)
    assert buttons.steps == 50
    assert (buttons.shortest, buttons.longest) == pytest.approx((0.5, 2.0))
    assert buttons.operator == 1.0
    assert buttons.highest[3] == pytest.approx(0.08) and buttons.lowest[3] == pytest.approx(0.02)
    assert buttons.saturated[3] == pytest.approx(30 / 50)  # open until one second is over
    assert np.all(np.abs(buttons.mean[:3]) <= 0.1)


def test_pictures(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(["demos", "show", str(data), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "push_button" in told and "contact_sheet.jpg (2 episodes)" in told
    for name in ("trajectories.png", "actions.png"):
        picture = cv2.imread(str(output / name))
        assert picture.shape[1] > 1000
        assert np.ptp(picture) > 200
    sheet = cv2.imread(str(output / "contact_sheet.jpg"))
    row = sheet.shape[0] // 2
    assert row > THUMBNAIL
    # the dot in the first picture is farther left than in the last
    thumbnails = sheet.shape[1] // 8
    first, last = sheet[:row, :thumbnails], sheet[:row, -thumbnails:]
    assert red(first).mean() + 10 < red(last).mean()


def red(image: np.ndarray) -> np.ndarray:
    """Columns of red pixels."""
    blue, _, channel = np.moveaxis(image.astype(int), -1, 0)
    return np.nonzero(channel - blue > 100)[1]


def test_one_episode_without_images(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["demos", "show", str(data / "c"), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "skill: unbox" in told and "100.0 Hz  joint_states" in told
    assert "no episode has images" in told
    names = sorted(path.name for path in output.iterdir())
    assert names == ["actions.png", "timeline.png", "trajectories.png"]


def test_nothing_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad_0.mcap").write_bytes(b"rubbish")
    assert main(["demos", "show", str(tmp_path)]) == 2
    assert "bad_0.mcap: not a readable MCAP file" in capsys.readouterr().err
