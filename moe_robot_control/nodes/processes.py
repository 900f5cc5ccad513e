"""Child processes that live and die together."""

from __future__ import annotations

import collections
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import TextIO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
GRACE = ((signal.SIGINT, 1.2), (signal.SIGTERM, 0.8), (signal.SIGKILL, 0.5))
"""Signals that end the processes, and how long to wait after each [s]: under 3 s in all."""


class ProcessGroup:
    """Starts processes, shows their output line by line, and ends all of them on exit.

    Each process has a session of its own, so that Ctrl-C reaches it only through this one; on
    Linux the kernel ends them when this process dies in any other way.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        environment: Mapping[str, str] | None = None,
        output: TextIO | None = None,
        catch_signals: bool = True,
        death_signal: int = signal.SIGKILL,
    ) -> None:
        """Describe the processes.

        Args:
            commands: command by name; the name goes before every line of output.
            environment: of the processes.
            output: where their output goes (stdout by default).
            catch_signals: end on SIGINT and SIGTERM; only possible in the main thread.
            death_signal: what the kernel sends them when this process is killed: one that they
                can answer, where an arm is to be brought to rest first.
        """
        self._commands = commands
        self._environment = None if environment is None else dict(environment)
        self._output = output or sys.stdout
        self._catch_signals = catch_signals
        self._death_signal = death_signal
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._old_handlers: dict[int, object] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._asked_to_stop = False
        self._lock = threading.Lock()

    def __enter__(self) -> ProcessGroup:
        if self._catch_signals:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old_handlers[number] = signal.signal(number, self._on_signal)
        try:
            for name, command in self._commands.items():
                self._start(name, command)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def wait(self, timeout: float | None = None) -> tuple[str, int] | None:
        """Wait until a process ends.

        Returns:
            Its name and exit status (negative: killed by that signal); None after a signal to
            this process, or after `timeout` [s].
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._asked_to_stop:
                ended = self.ended()
                if ended is not None:
                    return ended
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                if selector.select(left):
                    os.read(self._wake_read, 4096)
        return None

    def ended(self) -> tuple[str, int] | None:
        """Name and exit status of a process that has ended, if any."""
        for name, process in self._processes.items():
            status = process.poll()
            if status is not None:
                return name, status
        return None

    def stop(self) -> None:
        """End all processes, in under 3 s."""
        for number, patience in GRACE:
            running = [p for p in self._processes.values() if p.poll() is None]
            if not running:
                break
            for process in running:
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + patience
            for process in running:
                try:
                    process.wait(max(deadline - time.monotonic(), 0.0))
                except subprocess.TimeoutExpired:
                    pass
        self.drain()

    def drain(self, patience: float = 0.2) -> None:
        """Let the output of processes that have ended be shown, for `patience` [s] each."""
        for thread in self._threads():
            thread.join(patience)

    def _threads(self) -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name.startswith(f"output-{id(self)}-")]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop = True
        os.write(self._wake_write, b"x")

    def _start(self, name: str, command: Sequence[str]) -> None:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            preexec_fn=partial(_prepare_child, self._death_signal, os.getpid()),
        )
        self._processes[name] = process
        width = max(map(len, self._commands))
        threading.Thread(
            target=self._show,
            args=(process, f"[{name}]".ljust(width + 2)),
            name=f"output-{id(self)}-{name}",
            daemon=True,
        ).start()

    def _show(self, process: subprocess.Popen[bytes], prefix: str) -> None:
        for line in process.stdout:
            with self._lock:
                text = line.decode(errors="replace").rstrip()
                print(f"{prefix} {text}", file=self._output, flush=True)
        process.wait()
        try:
            os.write(self._wake_write, b"x")
        except OSError:
            pass  # closed: nobody waits any more


def _prepare_child(death_signal: int, parent: int) -> None:
    # until rclpy has its handlers, an interrupt would end the child with a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            # the launcher has died already: nothing will be sent any more
            os.kill(os.getpid(), death_signal)


class Tail:
    """A text stream that keeps its last lines.

    Attributes:
        lines: without empty ones.
    """

    def __init__(self) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=200)

    @property
    def last(self) -> str:
        """The last line, or that there is none."""
        return self.lines[-1] if self.lines else "it wrote nothing"

    def write(self, text: str) -> int:
        """Keep the lines of `text`."""
        self.lines.extend(line for line in text.splitlines() if line)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""
