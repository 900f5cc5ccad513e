"""Packaging for both worlds: `pip install .` and `colcon build` (ament_python)."""

from itertools import groupby
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "moe_robot_control"
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
MESSAGES = (
    "builtin-interfaces",
    "diagnostic-msgs",
    "geometry-msgs",
    "lifecycle-msgs",
    "rcl-interfaces",
    "rosgraph-msgs",
    "sensor-msgs",
    "std-msgs",
    "std-srvs",
    "trajectory-msgs",
    "visualization-msgs",
)


def data_files() -> list[tuple[str, list[str]]]:
    """Launch, config and model files for `share/moe_robot_control`, sub-directories kept."""
    root = Path(__file__).resolve().parent
    files = sorted(
        path.relative_to(root)
        for folder in ("launch", "config", "models")
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pt")
    )
    share = Path("share") / PACKAGE
    return [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (str(share), ["package.xml"]),
        *(
            (str(share / folder), [str(path) for path in group])
            for folder, group in groupby(sorted(files, key=lambda p: p.parent), lambda p: p.parent)
        ),
    ]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="A mixture of expert policies for one robot arm behind a ROS 2 graph",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={f"{PACKAGE}.console": ["static/*"]},
    data_files=data_files(),
    zip_safe=False,
    install_requires=[
        "aiohttp",
        "gymnasium",
        "matplotlib",
        "mcap",
        "mcap-ros2-support",
        "mujoco>=4",
        "numpy",
        "onnxruntime",
        "opencv-python-headless",
        "PyYAML",
        "rich",
        "tqdm",
        "zstandard",
    ],
    extras_require={
        # where ROS 2 is not installed: its Python client as wheels
        "ros": ["ros-rclpy[fastrtps]", *(f"ros-{message}" for message in MESSAGES)],
        # LeRobot's and robomimic's
        "formats": ["av", "h5py", "pyarrow"],
        "learning": ["onnx", "onnxscript", "ray", "scikit-learn", "scipy", "tensorboard", "torch"],
    },
    entry_points={
        "console_scripts": [
            f"moe-robot-control = {PACKAGE}.cli:main",
            *(f"{node} = {PACKAGE}.nodes.{node}:main" for node in NODES),
        ]
    },
)
