"""Is anything lost while recording, does memory grow, does control wait?

    python benchmarks/recording.py                            # 30 minutes and the paired run
    python benchmarks/recording.py --minutes 0.5 --pairs 2 --block 5

One process plays the sensors (two cameras at 30 Hz, joint states at 100 Hz, object poses at
20 Hz), real nodes command and record, this process is the operator. First the paired run: blocks
without and with recording take turns, and in each the latency from the operator's twist to the
commander's answer is measured. Then one long recording: every message that the sensors published
meanwhile must be in the file, and the recorder's memory is watched.
"""

from __future__ import annotations

import argparse
import json
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistStamped
from mcap.reader import make_reader
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from moe_robot_control.control.arm_config import ArmConfig
from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.nodes._runner import run_nodes
from moe_robot_control.nodes.contexts import context_of
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.executor import LeanExecutor
from moe_robot_control.nodes.processes import ProcessGroup, Tail
from moe_robot_control.nodes.qos import COMMAND, LATCHED, SENSOR
from moe_robot_control.nodes.ros_messages import (
    from_stamp,
    to_image,
    to_named_values,
    to_pose,
    to_twist,
)
from moe_robot_control.nodes.service_calls import call_repeatedly
from moe_robot_control.nodes.up import graph_environment
from moe_robot_control.policies.spaces import OBJECTS

ARM = ArmConfig.load("panda")
IMAGE_RATE, STATE_RATE, OBJECT_RATE, OPERATOR_RATE = 30, 100, 20, 50
_ENTRY = struct.Struct("<Hq")
"""Of the sensors' log: topic's index and stamp."""
_WARM_UP = 2.0
"""After recording has begun or ended, before latency is measured [s]."""


class BenchmarkError(MoeRobotControlError):
    """The nodes died or do not answer."""


def sensor_topics() -> list[str]:
    """Topics as recorded, in the order of the log's indices."""
    cameras = [f"cameras/{name}/image_raw/compressed" for name in ARM.cameras]
    return ["joint_states", *cameras, "objects/visible", *(f"objects/{o}/pose" for o in OBJECTS)]


class Sensors(Node):
    """Publishes what a robot's drivers and perception do, and logs every stamp."""

    def __init__(self, log: Path, size: tuple[int, int]) -> None:
        super().__init__("sensors")
        self._log = log.open("wb", buffering=0)
        publisher = self.create_publisher
        self._joints = publisher(JointState, ARM.topics["joint_states"], SENSOR)
        self._images = [publisher(Image, f"cameras/{n}/image_raw", SENSOR) for n in ARM.cameras]
        self._visible = publisher(JointState, "objects/visible", SENSOR)
        self._poses = [
            publisher(PoseWithCovarianceStamped, f"objects/{name}/pose", SENSOR) for name in OBJECTS
        ]
        # smooth pictures with noise, as cameras give: they compress as such
        rng = np.random.default_rng(0)
        ramp = np.add.outer(np.arange(size[1]), np.arange(size[0]))[..., None] % 256
        self._pictures = [
            np.clip(ramp + rng.normal(0, 5, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            for _ in range(8)
        ]
        self._count = 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / STATE_RATE, self._measure, clock=steady)
        self.create_timer(1 / IMAGE_RATE, self._photograph, clock=steady)
        self.create_timer(1 / OBJECT_RATE, self._look, clock=steady)

    def _stamp(self, *topics: int) -> int:
        now = self.get_clock().now().nanoseconds
        self._log.write(b"".join(_ENTRY.pack(topic, now) for topic in topics))
        return now

    def _measure(self) -> None:
        names = (*ARM.joint_names, ARM.gripper_joint)
        values = dict(zip(names, (*ARM.home.tolist(), ARM.max_gripper_width), strict=True))
        self._joints.publish(to_named_values(self._stamp(0), values))

    def _photograph(self) -> None:
        self._count += 1
        for index, out in enumerate(self._images):
            picture = self._pictures[(self._count + index) % len(self._pictures)]
            out.publish(to_image(self._stamp(1 + index), "camera", picture))

    def _look(self) -> None:
        first = 1 + len(self._images)
        stamp = self._stamp(*range(first, first + 1 + len(OBJECTS)))
        self._visible.publish(to_named_values(stamp, dict.fromkeys(OBJECTS, 1.0)))
        for out in self._poses:
            out.publish(to_pose(stamp, ARM.base_frame, np.ones(3), np.eye(3)))


class Operator(Node):
    """Publishes twists, and takes the time until the commander obeys each."""

    def __init__(self, **options: object) -> None:
        super().__init__("operator", **options)
        self.latencies: list[float] = []
        self.recorder: dict[str, Any] = {}
        self._answered = 0
        self._out = self.create_publisher(TwistStamped, "teleop/twist", COMMAND)
        listen = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(TwistStamped, "command/twist", self._on_command, listen)
        self.create_subscription(String, "demo_recorder/status", self._on_recorder, LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / OPERATOR_RATE, self._wish, clock=steady)

    def _wish(self) -> None:
        now = self.get_clock().now().nanoseconds
        # to and fro, so slowly that the arm would not leave its place
        velocity = 0.01 * np.array([np.sin(now * 1e-9), 0.0, 0.0])
        self._out.publish(to_twist(now, ARM.base_frame, velocity))

    def _on_command(self, message: TwistStamped) -> None:
        stamp = from_stamp(message.header.stamp)
        if stamp > self._answered:
            self._answered = stamp
            self.latencies.append((self.get_clock().now().nanoseconds - stamp) * 1e-6)

    def _on_recorder(self, message: String) -> None:
        self.recorder = json.loads(message.data)


class Bench:
    """Sensors, commander, recorder and operator."""

    def __init__(self, group: ProcessGroup, tail: Tail, node: Operator, spinner: LeanExecutor):
        self.node = node
        self._group, self._tail, self._executor = group, tail, spinner
        self._triggers = {
            name: node.create_client(Trigger, f"demo_recorder/{name}") for name in ("start", "stop")
        }

    def wait(self, seconds: float, each: Callable[[], None] | None = None) -> None:
        """Let time pass; `each` is called ten times a second."""
        end, due = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            self._spin(end + 60.0, "")
            if each is not None and now >= due:
                each()
                due = now + 0.1

    def until(self, condition: Callable[[], Any], complaint: str) -> None:
        """Wait for something."""
        deadline = time.monotonic() + 60.0
        while not condition():
            self._spin(deadline, complaint)

    def record(self, on: bool) -> None:
        """Start or stop recording."""
        deadline = time.monotonic() + 60.0
        client = self._triggers["start" if on else "stop"]
        answer = call_repeatedly(
            client, Trigger.Request(), lambda what: self._spin(deadline, what), again=np.inf
        )
        if not answer.success:
            raise BenchmarkError(answer.message)
        state = "recording" if on else "idle"
        self.until(lambda: self.node.recorder.get("state") == state, f"not {state}")

    def latency(self, seconds: float) -> np.ndarray:
        """Latencies measured now for so long [ms]."""
        self.wait(_WARM_UP)
        self.node.latencies.clear()
        self.wait(seconds)
        return np.array(self.node.latencies)

    def memory(self) -> float:
        """The recorder's resident memory [MB]."""
        pid = self._group._processes["demo_recorder"].pid
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def _spin(self, deadline: float, complaint: str) -> None:
        self._executor.spin_some(0.01)
        ended = self._group.ended()
        if ended is not None or time.monotonic() > deadline:
            raise BenchmarkError(f"{ended or complaint}: {self._tail.last}")


@contextmanager
def bench(folder: Path, log: Path, size: str) -> Iterator[Bench]:
    """Everything, in a ROS domain of its own."""
    python = [sys.executable, "-m"]
    tail = Tail()
    commands = {
        "velocity_commander": [*python, "moe_robot_control.nodes.velocity_commander", "--ros-args"]
        + ["-p", "mode:=teleop"],
        "demo_recorder": [*python, "moe_robot_control.nodes.demo_recorder", "--ros-args"]
        + ["-p", f"directory:='{folder}'"],
        "sensors": [sys.executable, __file__, "--sensors", str(log), "--size", size],
    }
    with ExitStack() as stack:
        domain = stack.enter_context(reserved_domain())
        environment = graph_environment(recorded=True) | {"ROS_DOMAIN_ID": str(domain)}
        group = stack.enter_context(ProcessGroup(commands, environment, tail, catch_signals=False))
        context = stack.enter_context(context_of(domain))
        node = Operator(context=context, cli_args=[])
        stack.callback(node.destroy_node)
        executor = LeanExecutor(context=context)
        executor.add_node(node)
        whole = Bench(group, tail, node, executor)
        whole.until(lambda: node.recorder and len(node.latencies) > 50, "the nodes did not start")
        yield whole


def paired(bench: Bench, pairs: int, block: float) -> list[dict[str, float]]:
    """Latency in blocks without and with recording, whose order changes from pair to pair."""
    rows = []
    for pair in range(pairs):
        row: dict[str, float] = {}
        for on in (False, True) if pair % 2 == 0 else (True, False):
            if on:
                bench.record(True)
            measured = bench.latency(block)
            if on:
                bench.record(False)
            name = "recording" if on else "idle"
            for quantile in (50, 99):
                row[f"{name} p{quantile} [ms]"] = float(np.percentile(measured, quantile))
            row[f"{name} count"] = len(measured)
        rows.append(row)
        print(json.dumps({key: round(value, 2) for key, value in row.items()}), flush=True)
    return rows


def difference(rows: list[dict[str, float]], quantile: int) -> tuple[float, float]:
    """Mean of recording minus idle, and the half width of its 95 % interval [ms]."""
    values = [row[f"recording p{quantile} [ms]"] - row[f"idle p{quantile} [ms]"] for row in rows]
    if len(values) < 2:
        return float(np.mean(values)), float("inf")
    # two-sided 95 % quantiles of Student's t
    t = {1: 12.7, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values)), float(t.get(len(values) - 1, 2.1) * spread)


def long_run(bench: Bench, minutes: float, log: Path, folder: Path) -> dict[str, Any]:
    """One recording, and what of the sensors' messages is in it."""
    memory: list[tuple[float, float]] = []
    began = time.monotonic()
    told = 0.0

    def watch() -> None:
        nonlocal told
        at = time.monotonic() - began
        if not memory or at >= memory[-1][0] + 1.0:
            memory.append((at, bench.memory()))
        if at >= told + 60.0:
            told = at
            print(f"{at / 60:.0f} min, {memory[-1][1]:.1f} MB", flush=True)

    bench.record(True)
    bench.wait(1.0)
    first = time.time_ns()
    bench.wait(60 * minutes, watch)
    last = time.time_ns()
    bench.wait(1.0)
    bench.record(False)
    recorder = bench.node.recorder
    (path,) = (folder / recorder["episode"]).glob("*.mcap")
    return {
        "minutes": minutes,
        "recorder": {key: recorder[key] for key in ("messages", "dropped", "lost")},
        "megabytes": path.stat().st_size / 1e6,
        "memory": memory,
        "topics": count(path, log, first, last),
    }


def count(path: Path, log: Path, first: int, last: int) -> dict[str, dict[str, int]]:
    """Messages published and missing by topic, of those stamped from `first` to `last` [ns]."""
    topics = sensor_topics()
    published: list[set[int]] = [set() for _ in topics]
    for topic, stamp in _ENTRY.iter_unpack(log.read_bytes()[: _whole(log)]):
        if first <= stamp <= last:
            published[topic].add(stamp)
    found: dict[str, list[int]] = {topic: [] for topic in topics}
    with path.open("rb") as stream:
        for _, channel, message in make_reader(stream).iter_messages(log_time_order=False):
            if channel.topic in found:
                found[channel.topic].append(message.publish_time)
    return {
        topic: {
            "published": len(stamps),
            "missing": len(stamps.difference(found[topic])),
            "twice": len(found[topic]) - len(set(found[topic])),
        }
        for topic, stamps in zip(topics, published, strict=True)
    }


def _whole(log: Path) -> int:
    size = log.stat().st_size
    return size - size % _ENTRY.size


def report(rows: list[dict[str, float]], run: dict[str, Any], size: str) -> str:
    """What was measured, as Markdown."""
    topics = run["topics"]
    published = sum(topic["published"] for topic in topics.values())
    missing = sum(topic["missing"] for topic in topics.values())
    fifths = np.array_split(np.array(run["memory"])[:, 1], 5)
    memory = ", ".join(f"{np.median(fifth):.1f}" for fifth in fifths)
    images = [topic for topic in topics if "image" in topic]
    lines = [
        "# Recording",
        "",
        f"{run['minutes']:g} minutes of {len(images)} cameras of {size} at {IMAGE_RATE} Hz, joint "
        f"states at {STATE_RATE} Hz, {len(OBJECTS)} object poses at {OBJECT_RATE} Hz, commands at "
        f"100 Hz: {run['recorder']['messages']} messages, {run['megabytes']:.0f} MB.",
        "",
        f"- Lost: {missing} of {published} published by the sensors (the recorder itself: "
        f"{run['recorder']['dropped']} dropped, {run['recorder']['lost']} lost by the middleware).",
        f"- The recorder's memory, median of each fifth of the time: {memory} MB.",
        "",
        "| topic | published | missing | twice |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {topic['published']} | {topic['missing']} | {topic['twice']} |"
            for name, topic in topics.items()
        ),
    ]
    if rows:
        lines += ["", f"Latency from an operator's twist to the command, {len(rows)} pairs:", ""]
        lines += ["| | idle [ms] | recording [ms] | difference [ms] |", "|---|---|---|---|"]
        for quantile in (50, 99):
            idle, on = (
                np.mean([row[f"{name} p{quantile} [ms]"] for row in rows])
                for name in ("idle", "recording")
            )
            mean, half = difference(rows, quantile)
            lines.append(f"| p{quantile} | {idle:.2f} | {on:.2f} | {mean:+.2f} ± {half:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run; 0 where nothing is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of the long run")
    parser.add_argument("--pairs", type=int, default=10, help="of blocks without and with")
    parser.add_argument("--block", type=float, default=20.0, help="length of a block [s]")
    parser.add_argument("--size", default="256x256", help="of the images")
    parser.add_argument("--out", type=Path, help="page and JSON file; default: stdout alone")
    parser.add_argument("--sensors", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    if args.sensors is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return run_nodes([lambda: Sensors(args.sensors, (width, height))], "sensors", ["sensors"])
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "recordings", Path(name) / "stamps"
        try:
            with bench(folder, log, args.size) as whole:
                rows = paired(whole, args.pairs, args.block)
                run = long_run(whole, args.minutes, log, folder)
        except MoeRobotControlError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    page = report(rows, run, args.size)
    print(page)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(page)
        args.out.with_suffix(".json").write_text(json.dumps({"pairs": rows, "run": run}))
    return int(any(topic["missing"] for topic in run["topics"].values()))


if __name__ == "__main__":
    sys.exit(main())
