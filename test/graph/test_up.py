"""`up` starts every node as a process and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import JointState

from .client import client_of
from .conftest import processes_of_domain

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(models: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts `up` with more arguments; what a failed test leaves running is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        # on the wall clock: in lockstep the episode, and with it all messages, soon end
        command = [sys.executable, "-m", "moe_robot_control.nodes.up", "sim", "--true-poses"]
        up = subprocess.Popen(
            [*command, "--real-time", "--model-directory", str(models), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(up)
        return up

    yield start
    for up in started:
        up.kill()
        up.communicate()


def wait_until(condition: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(start: Start, domain: int, composed: bool, number: int) -> None:
    up = start(*(["--composed"] if composed else []))
    with client_of(domain) as client:
        client.call(GetState, "velocity_commander/get_state")
        client.message(JointState, "joint_states")
        assert len(processes_of_domain(domain)) == (2 if composed else 11)
        began = time.monotonic()
        up.send_signal(number)
        output, _ = up.communicate(timeout=10)
        took = time.monotonic() - began
    assert up.returncode == 0, output
    assert took < 3.0
    assert "Traceback" not in output
    assert processes_of_domain(domain) == []


def test_a_signal_at_start_ends_everything(start: Start, domain: int) -> None:
    up = start()
    wait_until(lambda: len(processes_of_domain(domain)) == 11, 10)
    up.send_signal(signal.SIGINT)
    output, _ = up.communicate(timeout=10)
    assert up.returncode == 0 and "Traceback" not in output, output
    assert processes_of_domain(domain) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
def test_nodes_die_with_a_killed_launcher(start: Start, domain: int) -> None:
    up = start()
    wait_until(lambda: len(processes_of_domain(domain)) == 11, 10)
    up.kill()
    up.communicate(timeout=10)
    wait_until(lambda: processes_of_domain(domain) == [], 3)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
def test_a_node_ends_whose_launcher_was_killed_before_it_began(
    environment: dict[str, str],
) -> None:
    launcher = """
import os, signal, subprocess, sys, time
from moe_robot_control.nodes.processes import _prepare_child
launcher = os.getpid()
def begin_late():
    os.kill(launcher, signal.SIGKILL)
    while os.getppid() == launcher:
        time.sleep(0.001)
    _prepare_child(signal.SIGKILL, launcher)
node = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(node, start_new_session=True, preexec_fn=begin_late)
"""
    # the pipe is open for as long as anybody who has inherited it lives
    command = [sys.executable, "-c", launcher]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=20)
    assert done.returncode == -signal.SIGKILL


def test_the_end_of_one_node_ends_all(start: Start, domain: int) -> None:
    up = start()
    with client_of(domain) as client:
        client.call(GetState, "push_button/get_state")
    (victim,) = [
        pid
        for pid in processes_of_domain(domain)
        if "__node:=push_button" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(victim, signal.SIGKILL)
    output, _ = up.communicate(timeout=10)
    assert up.returncode != 0
    assert "node push_button ended" in output
    assert processes_of_domain(domain) == []
