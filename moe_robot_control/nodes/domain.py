"""A ROS domain that no other graph of this machine's runners uses."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_robot_control.errors import MoeRobotControlError

DOMAINS = range(10, 100)
"""Domains above 101 can collide with Linux's ephemeral ports."""


class NoDomainError(MoeRobotControlError):
    """All domains are in use."""


@contextmanager
def reserved_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that nobody else reserves meanwhile, on this machine."""
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"moe_robot_control_domain_{os.getuid()}_{domain}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        try:
            yield domain
        finally:
            os.close(descriptor)
        return
    raise NoDomainError(f"ROS domains {DOMAINS.start} to {DOMAINS.stop - 1} are all in use")
