"""Bad input stops a node with one line that names the culprit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import write_linear

Run = Callable[..., subprocess.CompletedProcess[str]]


def check(result: subprocess.CompletedProcess[str], *words: str, status: int = 2) -> None:
    output = result.stdout + result.stderr
    assert result.returncode == status, output
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if line.strip()]
    assert len(lines) == 1, output
    for word in words:
        assert word in lines[0], output


@pytest.mark.parametrize(
    ("module", "parameter", "words"),
    [
        ("mujoco_bridge", "scenario:=9", ("scenario", "1", "7", "9")),
        ("mujoco_bridge", "scenario:=many", ("scenario",)),
        ("mujoco_bridge", "skill:=dance", ("skill", "dance", "push_button")),
        ("mujoco_bridge", "arm:=kuka", ("kuka", "panda")),
        ("mujoco_bridge", "arm:=ur5e", ("ur5e", "cannot be simulated")),
        ("expert_policy", "skill:=dance", ("skill", "dance", "push_button")),
        ("manipulation_network", "top_k:=0", ("top_k", "1", "7")),
        ("manipulation_network", "fixed_expert:=dance", ("fixed_expert", "dance")),
        ("velocity_commander", "mode:=waltz", ("mode", "waltz", "teleop")),
        ("velocity_commander", "max_age:=-1.0", ("max_age",)),
        ("velocity_commander", "missing_share:=0.9", ("missing_share", "0.5")),
        ("perception", "model:=/nowhere/net.onnx", ("/nowhere/net.onnx",)),
        ("perception", "cameras:=[top]", ("cameras", "top", "left")),
    ],
)
def test_bad_parameter(run_node: Run, module: str, parameter: str, words: tuple[str, ...]) -> None:
    check(run_node(module, "--ros-args", "-p", parameter), module, *words)


def test_viewer_without_a_display(
    run_node: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.pop("DISPLAY", None)
    environment.pop("WAYLAND_DISPLAY", None)
    check(run_node("mujoco_bridge", "--ros-args", "-p", "viewer:=true"), "viewer", "DISPLAY")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/**:\n  ros__parameters: {scenario: [1, 2\n", ("malformed YAML", "line")),
        ("scenario: 3\n", ("not a parameters file",)),
        ("", ("not a parameters file",)),
        ("/**:\n  ros__parameters: {scenario: 9}\n", ("scenario",)),
    ],
)
def test_bad_parameters_file(
    run_node: Run, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    check(run_node("mujoco_bridge", "--ros-args", "--params-file", str(path)), *words)


def test_missing_parameters_file(run_node: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "none.yaml")
    check(run_node("velocity_commander", "--ros-args", "--params-file", path), path)


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("expert_policy", "push_button.onnx"),
        ("manipulation_network", "manipulation_network.onnx"),
    ],
)
@pytest.mark.parametrize("fault", ["missing", "corrupt", "wrong_input"])
def test_bad_model(
    run_node: Run, models: Path, tmp_path: Path, module: str, file: str, fault: str
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    if fault == "missing":
        (folder / file).unlink()
    elif fault == "corrupt":
        (folder / file).write_bytes(b"not a model")
    else:
        outputs = 4 if module == "expert_policy" else 7
        name = "action" if module == "expert_policy" else "weights"
        write_linear(folder / file, np.zeros((5, outputs)), np.zeros(outputs), name)
    parameters = ["-p", f"model_directory:={folder}", "-p", "skill:=push_button"]
    check(run_node(module, "--ros-args", *parameters), module, str(folder / file))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenario", "9"), ("9", "1 to 7")),
        (("--skill", "dance"), ("dance", "push_button")),
        (("dishes",), ("dishes", "sim")),
        (("--arm", "octopus"), ("octopus", "panda")),
        (("--model-directory", "/nowhere"), ("/nowhere",)),
        (("--parameters", "/nowhere.yaml"), ("/nowhere.yaml",)),
        (("deploy", "--scenario", "1"), ("--scenario", "real arm")),
        (("deploy", "--mode", "waltz"), ("waltz", "idle")),
        (("deploy", "--speed-scale", "0"), ("speed scale",)),
    ],
)
def test_bad_arguments_of_up(
    run_node: Run, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    check(run_node("up", *arguments), *words)


def test_up_names_the_node_that_died(run_node: Run, tmp_path: Path) -> None:
    (tmp_path / "nowhere").mkdir()
    result = run_node("up", "--true-poses", "--model-directory", str(tmp_path / "nowhere"))
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    (last,) = result.stderr.strip().splitlines()
    name = last.removeprefix("up: node ").split()[0]
    assert f"[{name}]" in result.stdout and "nowhere" in result.stdout
