"""Every kind of trouble is found, and none where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from graph_recordings import Script, write_recording

from moe_robot_control.cli import main
from moe_robot_control.demonstrations.bag import EpisodeError
from moe_robot_control.demonstrations.checks import check_episode, check_set

FACTS = Script().metadata


def texts(folder: Path, script: Script | None = None) -> list[str]:
    report = check_episode(write_recording(folder, script))
    return [f"{finding.level}: {finding.text}" for finding in report.findings]


def test_a_good_episode(tmp_path: Path) -> None:
    report = check_episode(write_recording(tmp_path / "one"))
    assert report.findings == []
    assert len(report.episode) == 40
    assert report.rates["joint_states"] == pytest.approx(100.0)
    assert report.rates["cameras/front/image_raw/compressed"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("metadata", "finding"),
    [
        ({"skill": "juggle"}, "error: unknown skill 'juggle'"),
        ({"skill": "", "scenario": "8"}, "error: unknown scenario '8'"),
        ({"skill": ""}, "warning: tells neither skill nor scenario"),
        ({"success": "unknown"}, "warning: does not tell whether it succeeded"),
        ({"lost": "3"}, "warning: 3 messages were lost"),
        ({"arm": "octopus"}, "error: unknown arm 'octopus'"),
    ],
)
def test_metadata(tmp_path: Path, metadata: dict[str, str], finding: str) -> None:
    found = texts(tmp_path / "one", Script(metadata=dict(FACTS) | metadata))
    assert any(text.startswith(finding) for text in found), found


def lose(name: str, first: int, last: int) -> Any:
    return {"keep": lambda topic, index: topic != name or not first <= index < last}


def change(name: str, how: Any) -> Any:
    return {"change": lambda topic, index, message: how(index, message) if topic == name else None}


def freeze(index: int, message: dict[str, Any]) -> None:
    if index > 20:
        message["position"] = [0.0] * 8


def race(index: int, message: dict[str, Any]) -> None:
    if index == 32:
        message["twist"]["linear"]["y"] = 0.7


def stand(index: int, message: dict[str, Any]) -> None:
    message["twist"]["linear"] = {"x": 0.0, "y": 0.0, "z": 0.0}


def same_picture(index: int, message: dict[str, Any]) -> None:
    message["data"] = b"same"


CAMERA = "cameras/front/image_raw/compressed"


@pytest.mark.parametrize(
    ("trouble", "finding"),
    [
        ({"seconds": 0.3}, "error: only 6 steps"),
        (lose("joint_states", 100, 200), "warning: joint_states: stuck, nothing came for 1.0 s"),
        (lose("joint_states", 0, 200), "error: holds no whole step"),
        (lose("objects/visible", 5, 15), "warning: 10 of 40 decisions are missing, the longest"),
        (lose("objects/box/pose", 5, 15), "warning: 10 scenes are incomplete"),
        (lose(CAMERA, 10, 40), f"warning: {CAMERA}: stuck, nothing came for 1.5 s"),
        ({"keep": lambda topic, index: topic != CAMERA or index % 4 == 0}, f"warning: {CAMERA}: 5"),
        (lose("command/source", 0, 40), "warning: command/source: never came"),
        (lose("command/twist", 0, 100), "error: nobody commanded the arm"),
        ({"operator": (1.9, 2.0)}, "warning: nobody commanded the arm in 38 of 40 steps"),
        (change("joint_states", freeze), "warning: joint_states: stuck, the same for 1.8 s"),
        (change(CAMERA, same_picture), f"warning: {CAMERA}: stuck, the same for"),
        (change("command/twist", race), "error: 1 actions are out of range, first at step"),
        (change("command/twist", stand), "warning: the arm is never sent anywhere"),
    ],
)
def test_trouble(tmp_path: Path, trouble: dict[str, Any], finding: str) -> None:
    found = texts(tmp_path / "one", Script(**trouble))
    assert any(text.startswith(finding) for text in found), found


def test_damage_and_a_missing_end(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "one")
    (folder / "metadata.yaml").unlink()
    path = folder / "one_0.mcap"
    path.write_bytes(path.read_bytes()[:-3000])
    report = check_episode(folder)
    assert report.errors and "cut off" in report.findings[0].text
    assert any("no metadata.yaml" in finding.text for finding in report.findings)
    assert len(report.episode) > 30
    path.write_bytes(b"rubbish")
    report = check_episode(folder)
    assert [finding.text for finding in report.findings] == ["not a readable MCAP file"]


def test_episodes_that_do_not_go_together(tmp_path: Path) -> None:
    for number in range(5):
        facts = dict(FACTS) | {"seed": str(number)}
        seconds = 6.0 if number == 4 else 1.0
        write_recording(tmp_path / f"set/{number}", Script(seconds, facts, seed=number))
    write_recording(tmp_path / "set/again", Script(1.0, dict(FACTS) | {"seed": "3"}, seed=9))
    shutil.copytree(tmp_path / "set/0", tmp_path / "set/copy")
    (tmp_path / "set/copy/0_0.mcap").rename(tmp_path / "set/copy/copy_0.mcap")
    found = {
        report.path.parent.name: [finding.text for finding in report.findings]
        for report in check_set([tmp_path / "set"])
    }
    assert found == {
        "0": [],
        "1": [],
        "2": [],
        "3": [],
        "4": ["120 steps, others of push_button have 20"],
        "again": ["the same seed 3 as 3"],
        "copy": ["the same as 0"],
    }


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recording(tmp_path / "set/good")
    assert main(["demos", "check", str(tmp_path / "set")]) == 0
    assert "ok    " in capsys.readouterr().out
    write_recording(tmp_path / "set/short", Script(0.3))
    (tmp_path / "set/bad").mkdir()
    (tmp_path / "set/bad/bad_0.mcap").write_bytes(b"rubbish")
    told = tmp_path / "out/told.json"
    assert main(["demos", "check", str(tmp_path / "set"), "--json", str(told)]) == 1
    assert "3 episodes: 1 ok, 0 odd, 2 with errors" in capsys.readouterr().out
    assert [len(each["findings"]) for each in json.loads(told.read_text())] == [1, 0, 2]
    assert main(["demos", "check", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no episodes" in capsys.readouterr().err
    with pytest.raises(EpisodeError):
        check_set([])
