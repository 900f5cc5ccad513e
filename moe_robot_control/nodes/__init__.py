"""The ROS 2 graph: thin shells around the plain cores, and what starts them."""

import os

# before anything imports mujoco: cameras are rendered without a display
os.environ.setdefault("MUJOCO_GL", "egl")
