"""Where keys and axes come from: a terminal, or the kernel's joystick interface."""

from __future__ import annotations

import errno
import os
import struct
import sys
import termios
import tty
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from moe_robot_control.teleoperation.controls import TeleoperationError
from moe_robot_control.teleoperation.keyboard import decode_keys

_EVENT = struct.Struct("IhBB")
"""The kernel's joystick event: time, value, type, number."""
_BUTTON, _AXIS, _INITIAL = 0x01, 0x02, 0x80


class Terminal:
    """Keys as they are struck, without echo; restored on exit. Ctrl-C stays an interrupt."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Prepare.

        Raises:
            TeleoperationError: the stream (stdin by default) is no terminal.
        """
        self._stream = sys.stdin if stream is None else stream
        try:
            self._descriptor = self._stream.fileno()
            self._before = termios.tcgetattr(self._descriptor)
        except (OSError, ValueError, termios.error) as error:
            raise TeleoperationError("keyboard: standard input is not a terminal") from error
        self.ended = False

    def __enter__(self) -> Self:
        tty.setcbreak(self._descriptor)
        os.set_blocking(self._descriptor, False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.set_blocking(self._descriptor, True)
        try:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        except termios.error:
            pass  # the terminal is gone

    def read(self) -> list[str]:
        """Keys struck since the last call; `ended` tells that no more will come."""
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return []
        except OSError:
            data = b""  # an ssh connection that broke
        self.ended = not data
        return decode_keys(data.decode(errors="replace"))


class Joystick:
    """A gamepad at this machine, where no joy_node runs; the state as `sensor_msgs/Joy` has it.

    Attributes:
        axes: -1 to 1, left and up positive.
        buttons: 0 or 1.
    """

    def __init__(self, path: str | Path = "/dev/input/js0") -> None:
        """Open the device.

        Raises:
            TeleoperationError: it cannot be opened.
        """
        self.axes: list[float] = []
        self.buttons: list[int] = []
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise TeleoperationError(f"{path}: cannot be opened: {error.strerror}") from error
        self._rest = b""

    def read(self) -> bool:
        """Take the events since the last call; returns whether the device is still there."""
        while True:
            try:
                data = os.read(self._descriptor, 64 * _EVENT.size)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno not in (errno.ENODEV, errno.EIO):
                    raise
                return False
            if not data:
                return False
            data = self._rest + data
            whole = len(data) - len(data) % _EVENT.size
            self._rest = data[whole:]
            for _, value, kind, number in _EVENT.iter_unpack(data[:whole]):
                self._take(value, kind & ~_INITIAL, number)

    def _take(self, value: int, kind: int, number: int) -> None:
        if kind == _AXIS:
            self.axes += [0.0] * (number + 1 - len(self.axes))
            # the kernel counts right and down as positive
            self.axes[number] = max(-1.0, min(1.0, -value / 32767))
        elif kind == _BUTTON:
            self.buttons += [0] * (number + 1 - len(self.buttons))
            self.buttons[number] = value

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)
