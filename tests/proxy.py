"""A proxy before a server that can refuse, cut and stall its connections."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Stands on a free port of this machine, before a Redis at ``url`` (``redis://`` or ``unix://``)."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._accepts = True
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flows.set()
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where the proxy answers."""
        return f"redis://127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Keep every connection open, and let nothing through."""
        self._flows.clear()

    def resume(self) -> None:
        """Let through what has waited, and what comes."""
        self._flows.set()

    async def refuse(self) -> None:
        """End every connection, and each new one at once."""
        self._accepts = False
        self.cut()

    async def accept(self) -> None:
        """Take connections again."""
        self._accepts = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            self.refused += 1
            writer.transport.abort()
            return
        if self._target.scheme == "unix":
            other = await asyncio.open_unix_connection(self._target.path)
        else:
            other = await asyncio.open_connection(self._target.hostname, self._target.port or 6379)
        self._writers |= {writer, other[1]}
        await asyncio.gather(self._pipe(reader, other[1]), self._pipe(other[0], writer))
        self._writers -= {writer, other[1]}

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
