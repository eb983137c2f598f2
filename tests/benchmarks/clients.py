"""
Many sockets in one process of their own, which do next to nothing: what is measured is the server.

They send one command when the server says hello, and keep what comes with the time at which it came.
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
#: Daphne's backlog is 50. Whom it doesn't take the kernel tries again, each time after twice as long.
AT_THE_DOOR = 40
HANDSHAKE = (
    "GET /ws/notifications/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Token {token}\r\n\r\n"
)


@dataclass(slots=True)
class Heard:
    """What one socket heard: notifications with their times, and everything else but heartbeats."""

    notifications: list[tuple[float, bytes]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)


class Socket(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, port: int, token: str, command: str) -> None:
        self._handshake = HANDSHAKE.format(port=port, token=token).encode()
        self._command = command.encode()
        self._buffer = b""
        self._is_open = False
        self.greeted = asyncio.Event()
        self.heard = Heard()

    def connection_made(self, transport: Any) -> None:
        """Called when the server is reached."""
        self.transport = transport
        transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        """Called with what comes, as it comes."""
        now = time.monotonic()
        self._buffer += data
        if not self._is_open and not self._opens():
            return
        start = 0
        while found := _frame(self._buffer, start):
            opcode, body, start = found
            self._hear(now, opcode, self._buffer[body:start])
        self._buffer = self._buffer[start:]

    def _opens(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end:
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open, self._buffer = True, rest
        return self._is_open

    def _hear(self, now: float, opcode: int, body: bytes) -> None:
        if opcode == PING:
            self._send(PONG, body)
        elif b"_TICKET" in body[:32]:
            self.heard.notifications.append((now, body))
        elif b'"ping"' not in body[:32]:
            self.heard.answers.append(body)
            if b'"hello"' in body[:32]:
                self.greeted.set()
                self._send(TEXT, self._command)

    def _send(self, opcode: int, body: bytes) -> None:
        """Send a frame, masked with zeros, which leave it as it is."""
        length = len(body)
        size = bytes([128 + length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self.transport.write(bytes([128 + opcode]) + size + b"\0\0\0\0" + body)


def _frame(buffer: bytes, start: int) -> tuple[int, int, int] | None:
    """Return opcode, beginning and end of the body of the frame that starts there, if it is whole."""
    if len(buffer) < start + 2:
        return None
    length, body = buffer[start + 1], start + 2
    if length > 125:
        body += 2 if length == 126 else 8
        length = int.from_bytes(buffer[start + 2 : body], "big")
    end = body + length
    return (buffer[start] & 0xF, body, end) if body <= len(buffer) >= end else None


class Fleet:
    """The sockets, in their process. Each public method is an order."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    async def open(self, port: int, pairs: Iterable[tuple[str, str]]) -> bool:
        """Open a socket for each token and command; whether all are answered."""
        new, door = [Socket(port, *pair) for pair in pairs], asyncio.Semaphore(AT_THE_DOOR)
        self.sockets += new
        await asyncio.gather(*(_enter(one, port, door) for one in new))
        return await _comes(lambda: all(len(one.heard.answers) > 1 for one in new), PATIENCE)

    async def wait(self, notifications: int, seconds: float) -> bool:
        """Whether each socket hears so many, in so many seconds."""
        return await _comes(
            lambda: all(len(one.heard.notifications) >= notifications for one in self.sockets),
            seconds,
        )

    async def take(self) -> list[Heard]:
        """Return what each socket has heard since it was taken last."""
        found = [socket.heard for socket in self.sockets]
        for socket in self.sockets:
            socket.heard = Heard()
        return found


async def _enter(socket: Socket, port: int, door: asyncio.Semaphore) -> None:
    async with door:
        await asyncio.get_running_loop().create_connection(lambda: socket, "127.0.0.1", port)
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.greeted.wait(), PATIENCE)


async def _comes(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition comes true in so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    return condition()


async def obey(orders: Connection) -> None:
    """Carry out orders until there are no more."""
    fleet = Fleet()
    with suppress(EOFError):
        while True:
            name, *values = await asyncio.to_thread(orders.recv)
            orders.send(await getattr(fleet, name)(*values))


def run(orders: Connection) -> None:
    """The process."""
    asyncio.run(obey(orders))


class Clients:
    """The sockets, seen from the benchmark. Their clock is its own: ``time.monotonic``."""

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
        """Open a socket for each token and command; whether all are answered."""
        return bool(self._order("open", port, pairs))

    def wait(self, notifications: int, seconds: float = PATIENCE) -> bool:
        """Whether each socket hears so many, in so many seconds, since they were taken last."""
        return bool(self._order("wait", notifications, seconds))

    def take(self) -> list[Heard]:
        """Return what each socket has heard since it was taken last."""
        found: list[Heard] = self._order("take")
        return found
