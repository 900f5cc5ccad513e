"""Names, parameters, lifecycle and services of the running graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.qos import COMMAND, EVENTS, LATCHED
from moe_robot_control.policies.spaces import OBJECTS, SKILLS

from .client import GraphClient, running

MANAGED = ("manipulation_network", "velocity_commander", *SKILLS)


@pytest.fixture
def graph(models: Path, domain: int, environment: dict[str, str]) -> Iterator[GraphClient]:
    """The composed graph in lockstep, waiting for a reset."""
    options = GraphOptions(
        true_poses=True, model_directory=str(models), autostart=False, scenario=3, seed=11
    )
    with running(options, domain, environment) as client:
        client.call(GetState, "velocity_commander/get_state")
        yield client


@pytest.fixture
def real_time_graph(
    models: Path, domain: int, environment: dict[str, str], tmp_path: Path
) -> Iterator[GraphClient]:
    """The composed graph following the wall clock, slowly enough for a busy machine."""
    slow = tmp_path / "slow.yaml"
    slow.write_text("/**:\n  ros__parameters:\n    real_time_factor: 0.25\n")
    options = GraphOptions(
        true_poses=True, model_directory=str(models), lockstep=False, parameter_files=(str(slow),)
    )
    with running(options, domain, environment) as client:
        client.call(GetState, "velocity_commander/get_state")
        yield client


def test_nodes_topics_and_services_are_those_of_the_design(graph: GraphClient) -> None:
    wanted = {"mujoco_bridge", *MANAGED}
    graph.until(lambda: wanted <= set(graph.node.get_node_names()), "all nodes")
    expected = {
        "/clock": "rosgraph_msgs/msg/Clock",
        "/joint_states": "sensor_msgs/msg/JointState",
        "/joint_velocity_controller/commands": "std_msgs/msg/Float64MultiArray",
        "/gripper_controller/commands": "std_msgs/msg/Float64MultiArray",
        "/gate/weights": "sensor_msgs/msg/JointState",
        "/gate/markers": "visualization_msgs/msg/MarkerArray",
        "/command/twist": "geometry_msgs/msg/TwistStamped",
        "/teleop/twist": "geometry_msgs/msg/TwistStamped",
        "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
        "/mujoco_bridge/status": "std_msgs/msg/String",
        "/objects/visible": "sensor_msgs/msg/JointState",
    }
    for skill in SKILLS:
        expected[f"/experts/{skill}/twist"] = "geometry_msgs/msg/TwistStamped"
        expected[f"/experts/{skill}/gripper"] = "sensor_msgs/msg/JointState"
    for name in OBJECTS:
        expected[f"/objects/{name}/pose"] = "geometry_msgs/msg/PoseWithCovarianceStamped"
        expected[f"/mujoco_bridge/ground_truth/{name}/pose"] = "geometry_msgs/msg/PoseStamped"
    graph.until(
        lambda: expected.keys() <= {topic for topic, _ in graph.node.get_topic_names_and_types()},
        "all topics",
    )
    topics = dict(graph.node.get_topic_names_and_types())
    assert {topic: topics.get(topic) for topic in expected} == {
        topic: [kind] for topic, kind in expected.items()
    }
    offered = {
        f"/{name}"
        for name in (
            "mujoco_bridge/reset",
            "mujoco_bridge/step",
            "mujoco_bridge/pause",
            "velocity_commander/emergency_stop",
            "velocity_commander/release",
            "velocity_commander/set_mode/policy",
            "velocity_commander/set_mode/teleop",
            "velocity_commander/set_mode/idle",
            *(f"{node}/change_state" for node in MANAGED),
        )
    }
    # a node's services are found after its name, one by one
    graph.until(
        lambda: offered <= {name for name, _ in graph.node.get_service_names_and_types()},
        "all services",
    )


def test_parameters_come_from_the_launcher_and_the_files(graph: GraphClient) -> None:
    assert graph.get("mujoco_bridge", "scenario", "seed", "lockstep") == [3, 11, True]
    assert graph.get("push_button", "skill", "use_sim_time") == ["push_button", True]
    assert graph.get("manipulation_network", "top_k", "minimum_weight") == [7, 0.02]
    assert graph.get("velocity_commander", "mode", "max_age") == ["policy", 0.3]


def test_bad_values_are_refused_while_running(graph: GraphClient) -> None:
    assert not graph.set("mujoco_bridge", scenario=9).successful
    assert not graph.set("manipulation_network", top_k=0).successful
    result = graph.set("velocity_commander", mode="waltz")
    assert not result.successful and "waltz" in result.reason
    assert graph.get("velocity_commander", "mode") == ["policy"]


def test_managed_nodes_are_active_and_can_be_taken_down_and_up(graph: GraphClient) -> None:
    for node in MANAGED:
        state = graph.call(GetState, f"{node}/get_state").current_state
        assert state.id == State.PRIMARY_STATE_ACTIVE
    for change in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        request = ChangeState.Request(transition=Transition(id=change))
        for node in ("push_button", "manipulation_network", "velocity_commander"):
            assert graph.call(ChangeState, f"{node}/change_state", request).success
    graph.call(Trigger, "mujoco_bridge/reset")
    graph.message(JointState, "joint_states", accept=lambda m: _seconds(m) > 10.2)


def test_pause_and_step(graph: GraphClient) -> None:
    assert not graph.call(Trigger, "mujoco_bridge/step").success
    graph.call(SetBool, "mujoco_bridge/pause", SetBool.Request(data=True))
    with graph.messages(JointState, "joint_states") as states:
        graph.call(Trigger, "mujoco_bridge/reset")
        graph.until(lambda: states, "first joint states")
        for _ in range(7):
            graph.call(Trigger, "mujoco_bridge/step")
        graph.until(lambda: _seconds(states[-1]) > 10.065, "seven ticks")
        graph.call(SetBool, "mujoco_bridge/pause", SetBool.Request(data=True))
        assert _seconds(states[-1]) == pytest.approx(10.07)
        graph.call(SetBool, "mujoco_bridge/pause", SetBool.Request(data=False))
        graph.until(lambda: _seconds(states[-1]) > 10.3, "going on")


def test_commands_carry_the_stamp_that_they_answer(graph: GraphClient) -> None:
    topic = "joint_velocity_controller/commands"
    with graph.messages(Float64MultiArray, topic, COMMAND) as commands:
        graph.call(Trigger, "mujoco_bridge/reset")
        graph.until(lambda: len(commands) > 20, "commands")
    stamps = [int(command.layout.dim[0].label) for command in commands]
    assert all(len(command.data) == 7 for command in commands)
    steps = np.diff(stamps)
    # a listener may miss some, and sees repeated ones twice
    assert (steps >= 0).all() and (steps % 10_000_000 == 0).all() and steps.any()


def test_sleeping_experts_publish_nothing(graph: GraphClient) -> None:
    # the tiny gate gives weight to unbox, pull_drawer and push_button only
    with (
        graph.messages(TwistStamped, "experts/pick_and_drop/twist") as asleep,
        graph.messages(TwistStamped, "experts/push_button/twist") as awake,
    ):
        graph.call(Trigger, "mujoco_bridge/reset")
        graph.until(lambda: len(awake) > 10, "an awake expert")
        assert not asleep
        graph.set("manipulation_network", fixed_expert="pick_and_drop")
        graph.until(lambda: len(asleep) > 10, "the other expert")
        count = len(awake)
        graph.until(lambda: len(asleep) > 20, "more of the other expert")
        assert len(awake) <= count + 1


def test_emergency_stop_latches(graph: GraphClient) -> None:
    graph.call(Trigger, "mujoco_bridge/reset")
    _moving(graph)
    assert graph.call(Trigger, "velocity_commander/emergency_stop").success
    _at_rest(graph)
    assert graph.call(Trigger, "velocity_commander/set_mode/policy").success
    status = graph.message(DiagnosticArray, "diagnostics", EVENTS).status[0]
    assert "emergency stop" in status.message and status.level == b"\x02"
    _at_rest(graph)
    assert graph.call(Trigger, "velocity_commander/release").success
    _moving(graph)


def test_modes(graph: GraphClient) -> None:
    graph.call(Trigger, "mujoco_bridge/reset")
    _moving(graph)
    assert graph.call(Trigger, "velocity_commander/set_mode/idle").success
    _at_rest(graph)
    assert graph.get("velocity_commander", "mode") == ["idle"]
    assert graph.set("velocity_commander", mode="policy").successful
    _moving(graph)


def test_status_is_latched_and_true_positions_are_published(graph: GraphClient) -> None:
    graph.call(Trigger, "mujoco_bridge/reset")
    message = graph.message(
        String, "mujoco_bridge/status", LATCHED, lambda m: json.loads(m.data)["episode"] == 1
    )
    status = json.loads(message.data)
    assert (status["state"], status["scenario"], status["seed"]) == ("running", 3, 11)
    pose = graph.message(PoseStamped, "mujoco_bridge/ground_truth/bin/pose")
    assert pose.header.frame_id == "panda_link0" and 0.2 < pose.pose.position.x < 0.5


def test_real_time_follows_the_wall_clock(real_time_graph: GraphClient) -> None:
    graph = real_time_graph
    graph.call(Trigger, "mujoco_bridge/reset")
    _moving(graph)
    with graph.messages(Clock, "/clock") as clocks:
        graph.until(lambda: len(clocks) > 100, "clock")
    first, last = clocks[0].clock, clocks[-1].clock
    assert last.sec + last.nanosec * 1e-9 > first.sec + first.nanosec * 1e-9
    graph.call(Trigger, "velocity_commander/set_mode/idle")
    _at_rest(graph)


def test_real_time_stops_when_the_gate_falls_silent(real_time_graph: GraphClient) -> None:
    graph = real_time_graph
    graph.call(Trigger, "mujoco_bridge/reset")
    # the commander first goes on with the weights from before the reset
    begun = _seconds(graph.message(JointState, "joint_states"))
    graph.message(JointState, "gate/weights", accept=lambda m: begun <= _seconds(m) < begun + 1.0)
    _moving(graph)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    graph.call(ChangeState, "manipulation_network/change_state", request)
    _at_rest(graph)
    graph.message(
        DiagnosticArray, "diagnostics", EVENTS, lambda m: "gate weights are" in m.status[0].message
    )


def _seconds(message: JointState) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def _speed(message: JointState) -> float:
    return float(np.abs(message.velocity[:7]).max())


def _moving(graph: GraphClient) -> None:
    graph.message(JointState, "joint_states", accept=lambda m: _speed(m) > 0.05)


def _at_rest(graph: GraphClient) -> None:
    slow = 0

    def still(message: JointState) -> bool:
        nonlocal slow
        slow = slow + 1 if _speed(message) < 0.005 else 0
        return slow > 5

    with graph.messages(JointState, "joint_states") as states:
        checked = 0

        def came_to_rest() -> bool:
            nonlocal checked
            new, checked = states[checked:], len(states)
            return any(still(message) for message in new)

        graph.until(came_to_rest, "arm at rest")
