"""The installed package has its files, whether pip or colcon installed it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "moe_robot_control"
DATA = ("launch", "config", "models")
NODES = (
    "mujoco_bridge",
    "perception",
    "manipulation_network",
    "expert_policy",
    "velocity_commander",
    "demo_recorder",
    "teleop",
    "console",
    "learner",
    "joint_state_merger",
    "composed",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("workspace") / PACKAGE
    copy.mkdir()
    for name in ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in (*DATA, PACKAGE, "resource"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    clean.pop("MOE_ROBOT_CONTROL_SHARE", None)
    # what the command starts is to find this environment's tools
    clean["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def data_files(root: Path) -> set[Path]:
    return {
        path.relative_to(root)
        for folder in DATA
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pt")
    }


def check_share(prefix: Path) -> None:
    share = prefix / "share" / PACKAGE
    assert data_files(share) == data_files(ROOT)
    assert (share / "package.xml").is_file()
    index = prefix / "share/ament_index/resource_index/packages" / PACKAGE
    assert index.is_file()


def test_pip_install(source: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--ignore-installed", "--prefix", prefix, source, cwd=tmp_path)
    check_share(prefix)
    for name in ("moe-robot-control", *NODES):
        assert (prefix / "bin" / name).is_file()
    (modules,) = prefix.glob(f"lib/python*/site-packages/{PACKAGE}")
    printed = run(
        prefix / "bin/moe-robot-control",
        "--version",
        cwd=tmp_path,
        PYTHONPATH=str(modules.parent),
    )
    assert printed.startswith("moe-robot-control ")


def test_colcon_build(source: Path, tmp_path: Path) -> None:
    colcon = Path(sys.executable).parent / "colcon"
    if not colcon.exists():
        pytest.skip("colcon is not installed")
    bases = ("--build-base", tmp_path / "build", "--install-base", tmp_path / "install")
    run(
        colcon,
        *("--log-base", tmp_path / "log", "build", *bases, "--base-paths", source),
        cwd=tmp_path,
    )
    prefix = tmp_path / "install" / PACKAGE
    check_share(prefix)
    # where `ros2 run` and launch_ros look
    for name in ("moe-robot-control", *NODES):
        assert (prefix / "lib" / PACKAGE / name).is_file()


def test_package_xml() -> None:
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    assert root.get("format") == "3"
    assert root.findtext("name") == PACKAGE
    assert root.findtext("license") == "Apache-2.0"
    assert root.findtext("export/build_type") == "ament_python"


def test_share_is_found_from_another_folder(tmp_path: Path) -> None:
    code = (
        "from moe_robot_control.share import share_path;"
        "print(share_path('config/arms/panda.yaml').is_file())"
    )
    printed = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert printed.strip() == "True"
