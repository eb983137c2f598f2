"""Sockets of one client, one after the other: when it comes back, and when not. Knows no Django."""

import asyncio
import json
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from .close_codes import CloseCode
from .deadlines import timeout
from .standing import FrameError

logger = logging.getLogger(__name__)

#: In seconds, until the server has said its own: between which a lost socket is replaced, and its heartbeat.
WINDOW, HEARTBEAT_SECONDS = (0.5, 20.0), 25.0
#: However soon a server says that a client may come back.
SOONEST = 0.1
#: How long a server may take for the handshake, and to say hello.
OPEN_SECONDS = 10.0
#: The causes are the client's: coming back unchanged, it would be sent away again.
FINAL_CODES = {1002, 1007, CloseCode.FRAME_TOO_LARGE, *range(4400, 4500)} - {
    CloseCode.UNHEARD,
    CloseCode.TOO_MANY,
}
#: Of the answers to a handshake whose cause is the client's, those that are worth another one. Daphne says
#: 403 where it has no time; whom our server refuses, it accepts first, and closes with a code.
PASSING_STATUSES = {403, 408, 425, 429}


class ClosedError(Exception):
    """The server won't have this client as it is. The close code, or the HTTP status, says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The server closed for good: {code} {reason}".rstrip())
        self.code = code


class Reconnecting(ABC):
    """Keeps a socket open, for ever. `begin`, `hear` and `leave` say what happens on each."""

    def __init__(
        self, url: str, headers: Mapping[str, str] | None, window: tuple[float, float] | None
    ) -> None:
        self._url, self._headers, self._given_window = url, headers, window
        self._window, self._heartbeat = window or WINDOW, HEARTBEAT_SECONDS
        #: Sockets lost since one was of use.
        self.losses = 0
        #: Sockets that were greeted; those that ended for breaking the protocol; characters that came.
        self.sockets = self.breaches = self.received = 0

    @abstractmethod
    async def begin(self, socket: ClientConnection) -> None:
        """Called with each new socket, after the server's hello."""

    @abstractmethod
    async def hear(self, frame: dict[str, Any]) -> None:
        """Called with each frame but the hello. Raises FrameError if it makes no sense."""

    @abstractmethod
    def leave(self) -> None:
        """Called when the socket that began is gone."""

    async def keep_up(self) -> None:
        """Go from socket to socket. Raises ClosedError when the server won't have the client any more."""
        while True:
            code = await self._through_one()
            self.losses += 1
            await asyncio.sleep(pause(self.losses, self._window, code))

    async def _through_one(self) -> int | None:
        """Return the code with which the server closed a socket; None if it didn't."""
        try:
            async with connect(
                self._url,
                additional_headers=self._headers,
                compression=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=1,
                ping_interval=None,  # the server's heartbeat says as much
                max_size=None,
            ) as socket:
                await self._converse(socket)
        except InvalidURI:
            raise
        except ConnectionClosed as end:
            return _code(end)
        except InvalidStatus as error:
            _refuse_passing(error)
        except (OSError, WebSocketException) as error:  # a TimeoutError is an OSError
            logger.debug("No socket: %r", error, extra={"action": "client_cut"})
        except FrameError as error:
            self.breaches += 1
            logger.warning("A broken promise: %s", error, extra={"action": "client_breach"})
        return None

    async def _converse(self, socket: ClientConnection) -> None:
        try:
            self._greet(await self._next(socket, OPEN_SECONDS))
            self.sockets += 1
            await self.begin(socket)
            while True:
                await self.hear(await self._next(socket, 2 * self._heartbeat))
        except (TimeoutError, FrameError):
            socket.transport.abort()  # a dead link answers no close
            raise
        finally:
            self.leave()

    async def _next(self, socket: ClientConnection, seconds: float) -> dict[str, Any]:
        async with timeout(seconds):
            text = await socket.recv()
        self.received += len(text)
        return read(text)

    def _greet(self, hello: dict[str, Any]) -> None:
        """Take the server's conditions. Raises FrameError if that is no hello."""
        try:
            window = hello["reconnect"]
            least, most = window["min_ms"] / 1000, window["max_ms"] / 1000
            self._heartbeat = max(1.0, float(hello["heartbeat_seconds"]))
        except (KeyError, TypeError, ValueError):
            raise FrameError(f"Expected a hello, got {hello!r}.") from None
        self._window = self._given_window or (max(SOONEST, least), max(SOONEST, most))


def read(text: str | bytes) -> dict[str, Any]:
    """Return a server's frame. Raises FrameError if that is none."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise FrameError(f"Expected a JSON object with a type, got {text[:100]!r}.")
    return frame


def pause(losses: int, window: tuple[float, float], code: int | None) -> float:
    """
    Return a random time to wait for the next socket, in seconds, after so many losses in a row.

    When the server restarts all clients come at once, and spread over the whole window from the start.
    """
    least, most = window
    is_restart = code == CloseCode.SERVICE_RESTART
    ceiling = most if is_restart else min(most, least * 2.0 ** min(losses, 30))
    return random.uniform(least, max(least, ceiling))  # noqa: S311  # no secret


def _code(end: ConnectionClosed) -> int | None:
    """Return a server's close code, if there was one. Raises ClosedError if it says to stay away."""
    if end.rcvd is None:
        return None
    if end.rcvd.code in FINAL_CODES:
        raise ClosedError(end.rcvd.code, end.rcvd.reason) from None
    return end.rcvd.code


def _refuse_passing(error: InvalidStatus) -> None:
    status = error.response.status_code
    if status in range(400, 500) and status not in PASSING_STATUSES:
        raise ClosedError(status, error.response.reason_phrase) from None
    logger.debug("No socket: %r", error, extra={"action": "client_cut"})
