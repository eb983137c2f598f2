"""One client's connection: none may be half made, silent, too loud, or never read."""

import asyncio
from typing import Any

from daphne.ws_protocol import WebSocketProtocol
from twisted.web.http import HTTPChannel

from apps.realtime.close_codes import CloseCode
from apps.realtime.conf import realtime_settings
from apps.realtime.deadlines import Countdown, clock

from .metrics import note_closed

#: How long a client may take to read the close code, and what was sent before it. Autobahn's second
#: is less than a slow client needs for a full buffer, and it would never learn why it was cut.
FAREWELL_SECONDS = 10.0


class HTTPConnection(HTTPChannel):
    """
    Ends when the head of a request isn't there within ``HANDSHAKE_SECONDS``.

    Twisted alone waits a minute for each next byte. It does so still between requests and in a body.
    """

    is_in_head = False

    def connectionMade(self) -> None:
        """Called with a new connection: a request is to follow."""
        self.idle_seconds = self.timeOut
        super().connectionMade()
        self._begin_head()

    def dataReceived(self, data: bytes) -> None:
        """Called with each piece of a request; the first one after an answer begins the next."""
        if not self.requests and not self.is_in_head:
            self._begin_head()
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Called with each piece: drops of a head don't postpone its end."""
        if not self.is_in_head:
            super().resetTimeout()

    def timeoutConnection(self) -> None:
        """Called when the time is over. If this process was stopped meanwhile, the client has the rest."""
        if self.is_in_head and (left := self.head_until - clock().now) > 0:
            self.setTimeout(left)
        else:
            super().timeoutConnection()

    def allHeadersReceived(self) -> None:
        """Called when the head is there. What follows is Twisted's to wait for."""
        self.is_in_head = False
        self.setTimeout(self.idle_seconds)
        super().allHeadersReceived()

    def _begin_head(self) -> None:
        self.is_in_head = True
        seconds = realtime_settings().HANDSHAKE_SECONDS
        self.head_until = clock().now + seconds
        self.setTimeout(seconds)


class NotificationProtocol(WebSocketProtocol):
    """
    One socket, below the application.

    It is the transport's producer: the transport says when its buffer (64 kB) is full, and when it
    is empty again.
    """

    def connectionMade(self) -> None:
        """Called when HTTP hands the connection over."""
        self.drained = asyncio.Event()
        self.drained.set()
        self.abortion: Countdown | None = None
        self.clock = clock()
        self.opened_at = self.heard_at = self.pinged_at = self.clock.now
        # HTTP's own producer is still there.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        super().connectionMade()

    # What the application says

    def sendMessage(self, payload: bytes, is_binary: bool = False) -> None:
        """
        Called with what the application sends: as long as it likes, and nothing after the close.

        Autobahn would hold it to the limit of the client's frames, and raise once it is closing.
        """
        if self.state == self.STATE_OPEN:
            self.sendFrame(opcode=2 if is_binary else 1, payload=payload)

    def pauseProducing(self) -> None:
        """Called with each write into a full buffer."""
        self.drained.clear()

    def resumeProducing(self) -> None:
        """Called when the buffer is empty."""
        self.drained.set()

    def stopProducing(self) -> None:
        """Called by some transports when the connection is lost: ``connectionLost`` is by all."""

    # The end

    def dropConnection(self, abort: bool = False) -> None:
        """Called when all is said. The transport then empties its buffer, but not for ever."""
        super().dropConnection(abort)
        if not abort:
            self.abortion = Countdown(FAREWELL_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason: Any) -> None:
        """Called when there is no connection any more, whoever ended it."""
        self.drained.set()
        if self.abortion is not None:
            self.abortion.cancel()
        note_closed(self.localCloseCode if self.closedByMe else self.remoteCloseCode)
        super().connectionLost(reason)

    # What the client says

    def onMessage(self, payload: bytes, is_binary: bool) -> None:
        """Called with each frame. None is kept for an application that has been told to end."""
        self.heard_at = self.clock.now
        if self.state != self.STATE_OPEN:
            return
        # Twice what a client may have to say at once: all its subscriptions.
        if self.application_queue.qsize() >= 2 * realtime_settings().SUBSCRIPTIONS:
            self.sendClose(int(CloseCode.TOO_MANY))
        else:
            super().onMessage(payload, is_binary)

    def onPing(self, payload: bytes) -> None:
        """Called with a ping. Who doesn't read isn't answered: the answers would pile up."""
        self.heard_at = self.clock.now
        if self.drained.is_set():
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Called with a pong, asked for or not."""
        self.heard_at = self.clock.now

    def duration(self) -> float:
        """Return for how long it has been open: Daphne ends a slow handshake, and a socket after a day."""
        return self.clock.now - self.opened_at

    def check_timeouts(self) -> None:
        """Called every other second."""
        super().check_timeouts()
        if self.state == self.STATE_OPEN:
            self._check_heartbeat()

    def _check_heartbeat(self) -> None:
        now, seconds = self.clock.now, realtime_settings().HEARTBEAT_SECONDS
        is_asked = self.pinged_at > self.heard_at
        if is_asked and now - self.heard_at >= 2 * seconds:
            self.sendClose(int(CloseCode.UNHEARD))
        elif now - self.pinged_at >= seconds:
            self.pinged_at = now
            self.sendPing()
