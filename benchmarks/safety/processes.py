"""Processes that can be harmed one by one."""

from __future__ import annotations

import os
import signal
from typing import Any

from moe_robot_control.nodes.processes import ProcessGroup


class Processes(ProcessGroup):
    """Nodes that are killed, frozen and started again.

    Attributes:
        killed: names of those that were, and have not been started again.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.killed: set[str] = set()

    def pid(self, name: str) -> int:
        """Its number."""
        return self._processes[name].pid

    def names(self) -> list[str]:
        """Of all."""
        return list(self._commands)

    def kill(self, name: str) -> None:
        """End it at once, as a crash would."""
        self.killed.add(name)
        os.killpg(self.pid(name), signal.SIGKILL)
        self._processes[name].wait()

    def end(self, name: str) -> None:
        """Ask it to end."""
        self.killed.add(name)
        os.killpg(self.pid(name), signal.SIGTERM)

    def died(self) -> str | None:
        """Name of one that has ended though nobody killed it, if any."""
        for name, process in self._processes.items():
            if name not in self.killed and process.poll() is not None:
                return name
        return None

    def freeze(self, name: str) -> None:
        """Let it do nothing more."""
        os.killpg(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on; nothing happens to one that is not frozen."""
        if self._processes[name].poll() is None:
            os.killpg(self.pid(name), signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start it, if it has ended."""
        if name in self.killed:
            self._processes[name].wait()
            self._start(name, self._commands[name])
            self.killed.discard(name)

    def stop(self) -> None:
        for name in self._processes:
            self.thaw(name)
        super().stop()
