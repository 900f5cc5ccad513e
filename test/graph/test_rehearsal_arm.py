"""The rehearsal arm lags, loses, brakes and judges as it says."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.processes import ProcessGroup
from moe_robot_control.nodes.qos import COMMAND, LATCHED
from moe_robot_control.nodes.ros_messages import from_stamp, to_command
from moe_robot_control.nodes.up import graph_environment
from moe_robot_control.world.simulation import BenchSimulation
from safety.corruptions import CORRUPTIONS, corrupted
from safety.hardware import PERFECT, Hardware, Imperfections, Wire
from safety.relay import check_mode

from .client import GraphClient, client_of

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "rehearsal_arm.py"
SLOW = np.array([0.05, 0.0, 0.0, 0.05, 0.0, 0.0, 0.05])
"""A command that an arm at rest may be given [rad/s]."""


@pytest.fixture
def sim() -> BenchSimulation:
    """The arm at home over the empty table."""
    sim = BenchSimulation(1, ())
    sim.place_arm(np.arange(1), sim.arm.home[None], np.array([0.08]))
    sim.forward()
    return sim


def hardware(sim: BenchSimulation, seed: int = 0, **imperfections: float) -> Hardware:
    return Hardware(sim, Imperfections(**{**vars(PERFECT), **imperfections}), seed)


def drive(arm: Hardware, seconds: float, values: np.ndarray, start: float = 0.0) -> float:
    """Send a command every 10 ms; returns the end."""
    for k in range(round(seconds * 100)):
        arm.command_velocities(start + 0.01 * k, values)
        arm.advance(start + 0.01 * (k + 1))
    return start + seconds


def test_drives_lag(sim: BenchSimulation) -> None:
    arm = hardware(sim, lag=0.1)
    drive(arm, 0.1, SLOW)
    after_one_constant = arm.measure()[1][[0, 3, 6]]
    assert after_one_constant == pytest.approx(0.05 * (1 - np.exp(-1)), rel=0.1)
    drive(arm, 0.6, SLOW, start=0.1)
    assert arm.measure()[1][[0, 3, 6]] == pytest.approx(0.05, rel=0.05)


def test_without_commands_it_brakes_by_itself(sim: BenchSimulation) -> None:
    arm = hardware(sim, timeout=0.1)
    now = drive(arm, 0.2, SLOW)
    assert not arm.braking
    arm.advance(now + 0.08)
    assert arm.measure()[1][0] == pytest.approx(0.05, rel=0.05)
    arm.advance(now + 0.3)
    assert arm.braking and np.abs(arm.measure()[1]).max() < 1e-3
    drive(arm, 0.1, SLOW, start=now + 0.3)
    assert not arm.braking and arm.measure()[1][0] == pytest.approx(0.05, rel=0.05)
    assert not arm.judge.violations


def test_a_late_loop_catches_up_with_the_clock(sim: BenchSimulation) -> None:
    other = BenchSimulation(1, ())
    other.restore(0, sim.save(0))
    other.forward()
    punctual, late = hardware(sim), hardware(other)
    for k in range(30):
        punctual.command_velocities(0.01 * k, SLOW)
        late.command_velocities(0.01 * k, SLOW)
        punctual.advance(0.01 * (k + 1))
    late.advance(0.3)
    # all commands had come in time, though nobody had looked
    assert late.measure()[0] == pytest.approx(punctual.measure()[0], abs=1e-9)
    late.advance(10.0)
    assert late.skipped == pytest.approx(8.7, abs=0.005)


@pytest.mark.parametrize("loss", [0.0, 0.2, 1.0])
def test_packets_are_lost_by_chance_of_a_fixed_seed(loss: float) -> None:
    def received(seed: int) -> list[float]:
        wire, bad = Wire(np.random.default_rng(seed)), Imperfections(loss=loss)
        got = []
        for k in range(1000):
            wire.send(float(k), np.array([k]), bad)
            if (packet := wire.receive(k + 0.5)) is not None:
                got.append(float(packet[1][0]))
        return got

    got = received(3)
    assert got == received(3)
    assert len(got) == pytest.approx(1000 * (1 - loss), abs=60)
    if loss == 0.2:
        assert got != received(4)


def test_packets_are_late_but_in_order() -> None:
    wire, bad = Wire(np.random.default_rng(0)), Imperfections(latency=0.05, jitter=0.1, loss=0.0)
    for k in range(50):
        wire.send(0.01 * k, np.array([k]), bad)
    assert wire.receive(0.049) is None
    seen, arrivals = [], []
    for now in np.arange(0.05, 1.0, 0.001):
        if (packet := wire.receive(now)) is not None:
            arrivals.append(packet[0])
            seen.append(int(packet[1][0]))
    assert seen == sorted(seen) and seen[-1] == 49
    assert arrivals == sorted(arrivals) and arrivals[-1] <= 0.49 + 0.15 + 1e-9


def test_noise_is_of_the_size_and_the_seed_asked_for(sim: BenchSimulation) -> None:
    def readings(seed: int) -> np.ndarray:
        arm = hardware(sim, seed, encoder_noise=1e-3, width_noise=1e-3, velocity_noise=1e-2)
        return np.array([arm.measure()[0] for _ in range(400)])

    values = readings(1)
    assert values.std(axis=0) == pytest.approx(1e-3, rel=0.2)
    assert np.array_equal(values, readings(1)) and not np.array_equal(values, readings(2))


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.full(7, 3.0), "commanded velocity"),
        (np.full(7, 0.5), "commanded acceleration"),
        (np.full(6, 0.0), "malformed command"),
        (np.full(7, np.nan), "malformed command"),
        (np.array([0.0, 0.0, np.inf, 0.0, 0.0, 0.0, 0.0]), "malformed command"),
    ],
)
def test_bad_commands_are_noticed(sim: BenchSimulation, values: np.ndarray, limit: str) -> None:
    arm = hardware(sim)
    arm.command_velocities(0.0, values)
    assert arm.judge.violations[limit] == 1
    arm.judge.clear()
    assert not arm.judge.violations


def test_a_command_after_braking_must_begin_from_rest(sim: BenchSimulation) -> None:
    arm = hardware(sim)
    now = 0.0
    for share in np.linspace(0.05, 1.0, 20):
        now = drive(arm, 0.01, 20 * SLOW * share, start=now)
    assert not arm.judge.violations
    arm.advance(now + 0.5)
    arm.command_velocities(now + 0.5, 20 * SLOW)
    assert arm.judge.violations["commanded acceleration"] == 1


def test_openings_beyond_the_gripper_are_noticed(sim: BenchSimulation) -> None:
    arm = hardware(sim)
    arm.command_gripper(0.0, np.array([0.08]))
    assert not arm.judge.violations
    arm.command_gripper(0.0, np.array([0.09]))
    arm.command_gripper(0.0, np.array([np.nan]))
    assert arm.judge.violations == {"commanded opening": 1, "malformed command": 1}


def test_leaving_the_workspace_and_touching_the_table_are_noticed(sim: BenchSimulation) -> None:
    arm, q = hardware(sim), sim.arm.home.copy()
    arm.advance(0.01)
    assert not arm.judge.violations
    q[1], q[3] = 0.9, -1.9
    sim.place_arm(np.arange(1), q[None], np.array([0.08]))
    sim.forward()
    arm.advance(0.02)
    assert {"workspace", "table contact"} <= arm.judge.violations.keys()
    assert arm.judge.extremes.outside > 0.01 and arm.judge.extremes.depth > 0


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruptions_leave_the_message_itself_alone(kind: str) -> None:
    messages = [
        JointState(name=["a", "b", "c"], position=[1.0, 2.0, 3.0], velocity=[0.0, 0.0, 0.0]),
        TwistStamped(),
        PoseWithCovarianceStamped(),
    ]
    if kind in ("encoding", "size", "noise", "short"):
        messages = [Image(width=4, height=2, encoding="rgb8", step=12, data=bytes(24))]
    elif kind in ("zero", "empty"):
        messages.append(CameraInfo(k=[1.0] * 9))
    elif kind in ("missing", "reverse"):
        messages = messages[:1]
    before = [str(message) for message in messages]
    changed = [str(corrupted(message, kind)) for message in messages] != before
    assert [str(message) for message in messages] == before
    assert changed


def test_modes_of_the_relay_are_checked() -> None:
    for mode in ("pass", "drop", "delay 0.5", "shift -10", *CORRUPTIONS):
        assert check_mode(mode) == ""
    for mode in ("", "dance", "delay", "shift much", "nan 3"):
        assert check_mode(mode)


# -- the node ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running_arm() -> Iterator[GraphClient]:
    """The node with the empty table, which gives a slow machine time before it brakes."""
    parameters = ["furniture:=false", "cameras:=false", "timeout:=1.0", "loss:=0.0"]
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, str(SCRIPT), "--ros-args", *arguments]
    output = io.StringIO()
    with reserved_domain() as domain:
        environment = graph_environment() | {"ROS_DOMAIN_ID": str(domain)}
        with (
            ProcessGroup({"arm": command}, environment, output, catch_signals=False),
            client_of(domain, output) as client,
        ):
            yield client


def test_it_obeys_commands_and_brakes_without(running_arm: GraphClient) -> None:
    client = running_arm
    before = time.time_ns()
    stamp = from_stamp(client.message(JointState, "joint_states").header.stamp)
    assert before < stamp <= time.time_ns()
    topic = "joint_velocity_controller/commands"
    publisher = client.node.create_publisher(Float64MultiArray, topic, COMMAND)
    client.until(publisher.get_subscription_count, "listener")
    with client.messages(JointState, "joint_states") as states:

        def moving() -> bool:
            publisher.publish(to_command(None, SLOW))
            return bool(states) and states[-1].velocity[0] > 0.04

        client.until(moving, "motion")
        client.until(lambda: abs(states[-1].velocity[0]) < 0.02, "rest without commands")
    client.message(String, "rehearsal_arm/limits", LATCHED, lambda m: json.loads(m.data)["braking"])
    publisher.publish(to_command(None, np.full(7, np.nan)))

    def judged(message: String) -> bool:
        return json.loads(message.data)["violations"] == {"malformed command": 1}

    client.message(String, "rehearsal_arm/limits", LATCHED, judged)
    client.call(Trigger, "rehearsal_arm/clear")
    client.message(
        String, "rehearsal_arm/limits", LATCHED, lambda m: not json.loads(m.data)["violations"]
    )


def test_losses_can_be_set_while_it_runs(running_arm: GraphClient) -> None:
    client = running_arm
    with client.messages(JointState, "joint_states") as states:
        client.until(lambda: len(states) > 5, "joint states")
        assert client.set("rehearsal_arm", loss=1.0).successful
        before = len(states)
        with client.messages(String, "rehearsal_arm/limits", LATCHED) as reports:
            client.until(lambda: len(reports) > 3, "reports of an arm that loses all else")
        assert len(states) <= before + 1
        assert client.set("rehearsal_arm", loss=0.0).successful
        client.until(lambda: len(states) > before + 5, "joint states again")


def test_an_episode_is_that_of_its_seed(running_arm: GraphClient) -> None:
    client = running_arm
    assert client.set("rehearsal_arm", scenario=3, seed=11).successful
    client.call(Trigger, "rehearsal_arm/reset")
    status = json.loads(
        client.message(
            String, "rehearsal_arm/status", LATCHED, lambda m: json.loads(m.data)["episode"] > 1
        ).data
    )
    assert (status["scenario"], status["seed"], status["state"]) == (3, 11, "running")
    first = client.message(JointState, "joint_states").position[:7]
    client.call(Trigger, "rehearsal_arm/reset")
    again = client.message(JointState, "joint_states").position[:7]
    assert np.array(first) == pytest.approx(np.array(again), abs=5e-3)


@pytest.mark.parametrize("parameter", ["loss:=1.5", "arm:=kuka"])
def test_bad_parameters_end_it_with_one_line(environment: dict[str, str], parameter: str) -> None:
    command = [sys.executable, str(SCRIPT), "--ros-args", "-p", parameter]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("rehearsal_arm: ") and parameter.partition(":=")[0] in line
