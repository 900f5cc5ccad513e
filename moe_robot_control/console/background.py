"""Runs the console's server in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from moe_robot_control.errors import MoeRobotControlError

_PATIENCE = 10.0
"""Longest wait for the server to start or to end [s]."""


class ServerError(MoeRobotControlError):
    """The server cannot listen, or a certificate cannot be used."""


class BackgroundServer:
    """An application that is served until `close`.

    Attributes:
        port: that it listens on.
    """

    def __init__(
        self, app: web.Application, host: str, port: int, context: ssl.SSLContext | None = None
    ) -> None:
        """Start; port 0 is any that is free.

        Raises:
            ServerError: the address cannot be listened on.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="console", daemon=True)
        self._thread.start()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            self.port: int = self._run(self._start(host, port, context))
        except OSError as error:
            self.close()
            reason = error.strerror or str(error)
            raise ServerError(f"{host}:{port}: cannot be listened on: {reason}") from error

    def close(self) -> None:
        """End all connections and the thread; harmless the second time."""
        if self._loop.is_closed():
            return
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    async def _start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        return int(self._runner.addresses[0][1])

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE)


def certificate_context(certificate: str | Path, key: str | Path) -> ssl.SSLContext:
    """What https needs: a certificate and its private key, in PEM files.

    Raises:
        ServerError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "not a certificate and its key"
        raise ServerError(f"{certificate}, {key}: cannot be used: {reason}") from error
    return context
