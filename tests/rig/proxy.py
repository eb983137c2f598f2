"""A TCP proxy that can refuse, cut, reset and stall connections."""

import asyncio
import contextlib
import socket
import struct
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """
    A proxy on a free local port, in front of the server at ``url``.

    The URL has a host and a port. A Redis URL may have no port, or be ``unix://``.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._accepts = True
        self._served = 0
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flows.set()
        self._accepts = False  # connections that are being accepted right now end, too
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        # asyncio would leave a connection open that it has accepted, and not yet given to the server.
        await asyncio.sleep(0)
        self._server.close()
        while self._served:
            self.cut()
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        scheme = "redis" if self._target.scheme == "unix" else self._target.scheme
        return f"{scheme}://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Abort every connection. Bytes in transit are lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    def reset(self) -> None:
        """Abort every connection with a TCP reset, so that neither end sees a regular close."""
        at_once = struct.pack("ii", 1, 0)
        for writer in list(self._writers):
            if not writer.transport.is_closing():
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.cut()

    def stall(self) -> None:
        """Keep every connection open, but forward nothing."""
        self._flows.clear()

    def resume(self) -> None:
        """Forward again, beginning with the bytes that were held up."""
        self._flows.set()

    def move(self, url: str) -> None:
        """Serve new connections by another server. Those that exist stay with the old one."""
        self._target = urlsplit(url)

    async def refuse(self) -> None:
        """Abort every connection, and each new one as soon as it is made."""
        self._accepts = False
        self.cut()

    async def accept(self) -> None:
        """Accept connections again."""
        self._accepts = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served += 1
        self._writers.add(writer)
        try:
            await self._join(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            self._served -= 1

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            self.refused += 1
            return
        try:
            from_server, to_server = await self._connect()
        except OSError:  # without its server, the proxy ends the connection
            return
        self._writers.add(to_server)
        try:
            if self._accepts:  # pragma: no branch  # the way here takes microseconds
                await asyncio.gather(self._pipe(reader, to_server), self._pipe(from_server, writer))
        finally:
            self._writers.discard(to_server)
            to_server.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(self._target.path)
        return await asyncio.open_connection(self._target.hostname, self._target.port or 6379)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
