"""Real-time priority of a process, those threads among it that receive its messages."""

from __future__ import annotations

import os
from pathlib import Path


def go_first(priority: int) -> bool:
    """Let all present threads of this process run before ordinary processes.

    Args:
        priority: of FIFO scheduling, 1 to 99.

    Returns:
        Whether that is allowed: by root, or by an `rtprio` limit of at least `priority`.
    """
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):  # not allowed, or not Linux
        return False
    return True
