"""The reconnection of a client: it replaces each lost socket by a new one. Independent of Django."""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.typing import Subprotocol

from ..close_codes import CloseCode
from ..deadlines import timeout
from ..logs import get_logger
from .cursor import FrameError

logger = get_logger(__name__)

#: Fetches a one-time token.
Token = Callable[[], Awaitable[str]]
#: Defaults in seconds until the server's hello: the window for a new socket, and the heartbeat.
WINDOW, HEARTBEAT_SECONDS = (0.5, 20.0), 25.0
#: The shortest pause before a new socket, whatever the server's window is, in seconds.
SHORTEST_PAUSE = 0.1
#: How long a server may take for the handshake, and then for its hello.
OPEN_SECONDS = 10.0
#: Close codes after which the client gives up: the cause is its own, so it would be refused again.
FINAL_CODES = {1002, 1007, CloseCode.FRAME_TOO_LARGE, *range(4400, 4500)} - {
    CloseCode.UNHEARD,
    CloseCode.TOO_MANY,
}
#: The HTTP statuses from 400 to 499 after which the client tries again. An overloaded Daphne answers 403;
#: our own server never refuses a handshake: it accepts the socket, then closes it with a code.
TEMPORARY_STATUSES = {403, 408, 425, 429}


class ClosedError(Exception):
    """A final refusal of this client. Its close code, or HTTP status, gives the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The server closed for good: {code} {reason}".rstrip())
        self.code = code


class ReconnectingClient(ABC):
    """A client that replaces each lost socket. Subclasses implement `begin`, `receive` and `leave`."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        window: tuple[float, float] | None,
        token: Token | None = None,
    ) -> None:
        self._url, self._headers, self._given_window = url, headers, window
        self._token = token
        self._window, self._heartbeat = window or WINDOW, HEARTBEAT_SECONDS
        #: Sockets lost since one last brought an item.
        self.losses = 0
        #: Sockets with a hello; sockets ended for breaking the protocol; characters received.
        self.sockets = self.breaches = self.received = 0

    @abstractmethod
    async def begin(self, socket: ClientConnection) -> None:
        """Called with each new socket, after the server's hello."""

    @abstractmethod
    async def receive(self, frame: dict[str, Any]) -> None:
        """Called with each frame after the hello. Raises FrameError if the frame is invalid."""

    @abstractmethod
    def lose_socket(self) -> None:
        """Called when a socket is lost, also one that got no hello."""

    async def keep_up(self) -> None:
        """Open a socket, and another one whenever it is lost. Raises ClosedError on a final refusal."""
        while True:
            code = await self._serve_one()
            self.losses += 1
            await asyncio.sleep(pause(self.losses, self._window, code))

    async def _serve_one(self) -> int | None:
        """Serve one socket. Returns the server's close code; None if the server sent none."""
        try:
            async with connect(
                self._url,
                additional_headers=self._headers,
                subprotocols=await self._subprotocols(),
                compression=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=1,
                ping_interval=None,  # the server's heartbeat shows a dead link, too
                max_size=None,
            ) as socket:
                await self._converse(socket)
        except InvalidURI:
            raise
        except ConnectionClosed as end:
            return _code(end)
        except InvalidStatus as error:
            _raise_if_final(error)
        except (OSError, WebSocketException) as error:  # a TimeoutError is an OSError
            logger.debug(
                "The socket was lost, or not opened: %r", error, extra={"action": "client_cut"}
            )
        except FrameError as error:
            self.breaches += 1
            logger.warning("The protocol was broken: %s", error, extra={"action": "client_breach"})
        return None

    async def _subprotocols(self) -> list[Subprotocol] | None:
        if self._token is None:
            return None
        async with timeout(OPEN_SECONDS):
            return [Subprotocol(f"pillarbox.token.{await self._token()}")]

    async def _converse(self, socket: ClientConnection) -> None:
        try:
            self._greet(await self._next(socket, OPEN_SECONDS))
            self.sockets += 1
            await self.begin(socket)
            while True:
                await self.receive(await self._next(socket, 2 * self._heartbeat))
        except (TimeoutError, FrameError):
            socket.transport.abort()  # a dead link wouldn't answer a close
            raise
        finally:
            self.lose_socket()

    async def _next(self, socket: ClientConnection, seconds: float) -> dict[str, Any]:
        async with timeout(seconds):
            text = await socket.recv()
        self.received += len(text)
        return read(text)

    def _greet(self, hello: dict[str, Any]) -> None:
        """Adopt the hello's window and heartbeat. Raises FrameError if the frame is no hello."""
        try:
            window = hello["reconnect"]
            least, most = window["min_ms"] / 1000, window["max_ms"] / 1000
            self._heartbeat = max(1.0, float(hello["heartbeat_seconds"]))
        except (KeyError, TypeError, ValueError):
            raise FrameError(f"Expected a hello, got {hello!r}.") from None
        self._window = self._given_window or (max(SHORTEST_PAUSE, least), max(SHORTEST_PAUSE, most))


def read(text: str | bytes) -> dict[str, Any]:
    """Parse a frame from the server. Raises FrameError if it is not a JSON object with a type."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise FrameError(f"Expected a JSON object with a type, got {text[:100]!r}.")
    return frame


def pause(losses: int, window: tuple[float, float], code: int | None) -> float:
    """
    Return a random pause before the next socket, in seconds. It grows with the losses in a row.

    After a restart of the server, which all clients notice at once, it is spread over the whole window.
    """
    least, most = window
    is_restart = code == CloseCode.SERVICE_RESTART
    ceiling = most if is_restart else min(most, least * 2.0 ** min(losses, 30))
    return random.uniform(least, max(least, ceiling))  # noqa: S311  # no secret


def _code(end: ConnectionClosed) -> int | None:
    """Return the server's close code; None if it sent none. Raises ClosedError if the code is final."""
    if end.rcvd is None:
        return None
    if end.rcvd.code in FINAL_CODES:
        raise ClosedError(end.rcvd.code, end.rcvd.reason) from None
    return end.rcvd.code


def _raise_if_final(error: InvalidStatus) -> None:
    status = error.response.status_code
    if status in range(400, 500) and status not in TEMPORARY_STATUSES:
        raise ClosedError(status, error.response.reason_phrase) from None
    logger.debug("The socket was lost, or not opened: %r", error, extra={"action": "client_cut"})
