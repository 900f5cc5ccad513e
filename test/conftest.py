"""Rendering without a display for every test, however pytest is called."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
