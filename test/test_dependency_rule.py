"""Who may import whom: the rule that keeps the cores free of ROS and of training."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "moe_robot_control"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))

CORES = ("world", "perception", "policies", "control", "demonstrations", "teleoperation")
ABOVE_CORES = ("learning", "evaluation", "doctor", "nodes", "console")
ROS = (
    "rclpy",
    "launch",
    "launch_ros",
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
    "visualization_msgs",
)
TRAINING = ("torch", "onnx", "onnxscript")

DEPLOYED_NODES = (
    "perception",
    "manipulation_network",
    "expert_policy",
    "velocity_commander",
    "composed",
    "mujoco_bridge",
    "doctor",
    "teleop",
    "demo_recorder",
    "console",
)


def forbidden(part: str) -> set[str]:
    """Dotted prefixes that a module of this part of the package must not import."""
    found: set[str] = set()
    if part in CORES:
        found.update(f"{PACKAGE}.{name}" for name in ABOVE_CORES)
    if part in ("policies", "control", "teleoperation"):
        found.add(f"{PACKAGE}.world")
    if part == "console":
        found.update(f"{PACKAGE}.{name}" for name in ("learning", "evaluation", "nodes", "world"))
    if part != "nodes":
        found.update(ROS)
    if part != "learning":
        found.update(TRAINING)
    return found


def imports(path: Path, source: str | None = None) -> Iterator[str]:
    """Absolute dotted names that a module imports, at its top or anywhere inside."""
    tree = ast.parse(path.read_text() if source is None else source)
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(path: Path, source: str | None = None) -> list[str]:
    """The imports of a module that the rule forbids."""
    parts = path.relative_to(ROOT / PACKAGE).parts
    banned = forbidden(parts[0] if len(parts) > 1 else "")
    return sorted(
        {
            name
            for name in imports(path, source)
            if any(name == prefix or name.startswith(f"{prefix}.") for prefix in banned)
        }
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / PACKAGE)))
def test_module_keeps_the_rule(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("world/x.py", "from moe_robot_control.nodes import up"),
        ("world/x.py", "from ..learning import bc"),
        ("policies/x.py", "import moe_robot_control.world.simulation"),
        ("control/x.py", "from .. import world"),
        ("perception/x.py", "def f():\n    import torch.nn"),
        ("graph.py", "from rclpy.node import Node"),
        ("cli.py", "import sensor_msgs.msg"),
        ("console/x.py", "import rclpy"),
        ("console/x.py", "from moe_robot_control.nodes import console"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert violations(ROOT / PACKAGE / module, source)


def test_similar_names_are_allowed() -> None:
    source = "import onnxruntime\nfrom moe_robot_control.world import tasks"
    assert violations(ROOT / PACKAGE / "nodes/x.py", source) == []


def test_what_runs_on_the_robot_does_not_load_torch() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in SOURCES
        if path.relative_to(ROOT / PACKAGE).parts[0] in CORES and path.name != "__init__.py"
    ]
    modules += [f"{PACKAGE}.nodes.{name}" for name in DEPLOYED_NODES]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(*[name for name in {TRAINING!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MUJOCO_GL": "egl"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
