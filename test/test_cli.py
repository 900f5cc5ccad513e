"""The command line's own duties: what is loaded, what is printed, what it exits with."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from moe_robot_control import cli
from moe_robot_control.errors import MoeRobotControlError


def install_command(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException) -> None:
    module = ModuleType("probe_command")

    def run(arguments: argparse.Namespace) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module.add_arguments = lambda parser: parser.add_argument("--seed", type=int)
    module.run = run
    monkeypatch.setitem(sys.modules, "probe_command", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_command", "probe"))


@pytest.mark.parametrize("status", [0, 1, 3])
def test_exit_status_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    install_command(monkeypatch, status)
    assert cli.main(["probe", "--seed", "4"]) == status


def test_expected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_command(monkeypatch, MoeRobotControlError("a.onnx: cannot be\nread"))
    assert cli.main(["probe"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: a.onnx: cannot be read\n"
    assert captured.out == ""


def test_interrupt_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    install_command(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_missing_module_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "probe", ("no_such_module", "probe"))
    assert cli.main(["probe"]) == 2
    assert "no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["unknown"], [], ["--nothing"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert "usage: moe-robot-control" in capsys.readouterr().err


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.util.find_spec(cli.COMMANDS[name][0]) is not None
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"moe-robot-control {name}" in capsys.readouterr().out


def test_help_loads_neither_ros_nor_torch() -> None:
    code = (
        "import sys; from moe_robot_control import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'rclpy', 'torch', 'mujoco'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
