"""
Many client sockets in a process of their own. They do little, so that a benchmark measures the server.

Each socket sends one subscribe request after the server's hello, and keeps the frames that it receives, with
their times.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Self

TEXT, PING, PONG = 0x1, 0x9, 0xA
PATIENCE = 60.0
#: Daphne's backlog is 50. Beyond it, the kernel retries a connection, each time after twice as long.
CONCURRENT_HANDSHAKES = 40
HANDSHAKE = (
    "GET /ws/notifications/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Token {token}\r\n\r\n"
)


@dataclass(slots=True)
class Received:
    """The frames of one socket: notifications with their times, and all others except heartbeats."""

    notifications: list[tuple[float, bytes]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)


class Socket(asyncio.Protocol):
    """A client socket, which subscribes once."""

    transport: asyncio.Transport

    def __init__(self, port: int, token: str, request: str) -> None:
        self._handshake = HANDSHAKE.format(port=port, token=token).encode()
        self._request = request.encode()
        self._buffer = b""
        self._is_open = False
        self.greeted = asyncio.Event()
        self.received = Received()

    def connection_made(self, transport: Any) -> None:
        """Called when the TCP connection is open. Sends the handshake."""
        self.transport = transport
        transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        """Called with received bytes, which may end within a frame."""
        now = time.monotonic()
        self._buffer += data
        if not self._is_open and not self._read_handshake():
            return
        start = 0
        while found := _frame(self._buffer, start):
            opcode, body, start = found
            self._receive(now, opcode, self._buffer[body:start])
        self._buffer = self._buffer[start:]

    def _read_handshake(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end:
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open, self._buffer = True, rest
        return self._is_open

    def _receive(self, now: float, opcode: int, body: bytes) -> None:
        if opcode == PING:
            self._send(PONG, body)
        elif b"_TICKET" in body[:32]:
            self.received.notifications.append((now, body))
        elif b'"ping"' not in body[:32]:
            self.received.answers.append(body)
            if b'"hello"' in body[:32]:
                self.greeted.set()
                self._send(TEXT, self._request)

    def _send(self, opcode: int, body: bytes) -> None:
        """Send a frame. Its mask is zero, which leaves the body unchanged."""
        length = len(body)
        size = bytes([128 + length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self.transport.write(bytes([128 + opcode]) + size + b"\0\0\0\0" + body)


def _frame(buffer: bytes, start: int) -> tuple[int, int, int] | None:
    """Return the opcode of the frame at ``start``, and its body's start and end; None if incomplete."""
    if len(buffer) < start + 2:
        return None
    length, body = buffer[start + 1], start + 2
    if length > 125:
        body += 2 if length == 126 else 8
        length = int.from_bytes(buffer[start + 2 : body], "big")
    end = body + length
    return (buffer[start] & 0xF, body, end) if body <= len(buffer) >= end else None


class Fleet:
    """All sockets of the clients' process. Each public method carries out the order of its name."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    async def open(self, port: int, pairs: Iterable[tuple[str, str]]) -> bool:
        """Open a socket for each token and subscribe request. Return whether all were answered."""
        new = [Socket(port, *pair) for pair in pairs]
        handshakes = asyncio.Semaphore(CONCURRENT_HANDSHAKES)
        self.sockets += new
        await asyncio.gather(*(_connect(socket, port, handshakes) for socket in new))
        return await _becomes_true(
            lambda: all(len(socket.received.answers) > 1 for socket in new), PATIENCE
        )

    async def wait(self, notifications: int, seconds: float, first: int | None) -> bool:
        """
        Wait until each socket has received ``notifications``, counted since the last ``take``.

        ``first`` limits this to that many sockets, the oldest. Return False after ``seconds``.
        """
        sockets = self.sockets[:first]
        return await _becomes_true(
            lambda: all(len(each.received.notifications) >= notifications for each in sockets),
            seconds,
        )

    async def take(self) -> list[Received]:
        """Return the frames that each socket has received since the last ``take``."""
        received = [socket.received for socket in self.sockets]
        for socket in self.sockets:
            socket.received = Received()
        return received


async def _connect(socket: Socket, port: int, handshakes: asyncio.Semaphore) -> None:
    async with handshakes:
        await asyncio.get_running_loop().create_connection(lambda: socket, "127.0.0.1", port)
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.greeted.wait(), PATIENCE)


async def _becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true. Return False if it isn't after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    return condition()


async def carry_out(orders: Connection) -> None:
    """Carry out orders until the benchmark closes the connection."""
    fleet = Fleet()
    with suppress(EOFError):
        while True:
            name, *values = await asyncio.to_thread(orders.recv)
            orders.send(await getattr(fleet, name)(*values))


def run(orders: Connection) -> None:
    """Run the clients' process."""
    asyncio.run(carry_out(orders))


class Clients:
    """
    The benchmark's access to the clients' process.

    Both processes measure times by ``time.monotonic``, so they can be compared.
    """

    def __enter__(self) -> Self:
        spawn = multiprocessing.get_context("spawn")
        self._orders, theirs = spawn.Pipe()
        self._process = spawn.Process(target=run, args=(theirs,))
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._process.join()

    def _order(self, *order: Any) -> Any:
        self._orders.send(order)
        return self._orders.recv()

    def open(self, port: int, pairs: Sequence[tuple[str, str]]) -> bool:
        """Open a socket for each token and subscribe request. Return whether all were answered."""
        return bool(self._order("open", port, pairs))

    def wait(
        self, notifications: int, seconds: float = PATIENCE, *, first: int | None = None
    ) -> bool:
        """
        Wait until each socket has received ``notifications``, counted since the last ``take``.

        ``first`` limits this to that many sockets, the oldest. Return False after ``seconds``.
        """
        return bool(self._order("wait", notifications, seconds, first))

    def take(self) -> list[Received]:
        """Return the frames that each socket has received since the last ``take``."""
        received: list[Received] = self._order("take")
        return received
