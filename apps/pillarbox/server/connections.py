"""The WebSocket protocol of a connection, with limits for silent, flooding and slow-reading clients."""

import asyncio
from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from ..close_codes import CloseCode
from ..conf import pillarbox_settings
from ..deadlines import Countdown, clock
from ..metrics.relay import note_closed
from ..sockets.commands.limits import TokenBucket

#: The close timeout: how long a client may take to read what was sent, and then the close code. A slow
#: client with a full buffer needs longer than Autobahn's default of one second.
CLOSE_TIMEOUT_SECONDS = 10.0
#: Incoming bytes are parsed in pieces of this size. Limits apply between two pieces.
PIECE_BYTES = 1024


class NotificationProtocol(WebSocketProtocol):
    """
    The protocol of one socket, between the transport and the application.

    It is the producer of the transport, which calls it when its buffer of 64 kB is full, and when it is
    empty again.
    """

    def connectionMade(self) -> None:
        """Called when the HTTP protocol hands the connection over, after a handshake request."""
        #: Set while the transport's buffer has room, and once the connection is lost.
        self.drained = asyncio.Event()
        self.drained.set()
        self.close_timeout: Countdown | None = None
        self.clock = clock()
        self.opened_at = self.heard_at = self.pinged_at = self.clock.now
        #: Limits pings, pongs, fragments, and frames after a close. The application limits commands.
        self.bucket = TokenBucket(self.clock.now)
        self.frames_of_message = 0
        self.has_head = self.ignores_input = False
        #: Frames that arrived before the application accepted the socket.
        self.early = b""
        # The HTTP protocol is still registered as producer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, True)
        super().connectionMade()

    # From the application to the client

    def sendMessage(self, payload: bytes, is_binary: bool = False) -> None:
        """
        Called with each message of the application. Messages after the close are dropped.

        Autobahn's own method applies the size limit of client frames, and raises after the close.
        """
        if self.state == self.STATE_OPEN:
            self.sendFrame(opcode=2 if is_binary else 1, payload=payload)

    def pauseProducing(self) -> None:
        """Called when a write has filled the buffer."""
        self.drained.clear()

    def resumeProducing(self) -> None:
        """Called when the buffer is empty."""
        self.drained.set()

    def stopProducing(self) -> None:
        """Called by some transports when the connection is lost. All of them call ``connectionLost``."""

    # The end

    def dropConnection(self, abort: bool = False) -> None:
        """Called after the close handshake. The connection ends once its buffer is sent, or after a while."""
        super().dropConnection(abort)
        if not abort:
            self.close_timeout = Countdown(CLOSE_TIMEOUT_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason: Any) -> None:
        """Called when the connection has ended, whichever side ended it."""
        self.drained.set()
        if self.close_timeout is not None:
            self.close_timeout.cancel()
        note_closed(self.localCloseCode if self.closedByMe else self.remoteCloseCode)
        super().connectionLost(reason)

    # From the client to the application

    def dataReceived(self, data: bytes) -> None:
        """Called with the bytes of the handshake request first, then with those of the client's frames."""
        if self.has_head and self.state == self.STATE_CONNECTING:
            self._keep_early(data)
            return
        self.has_head = True
        for start in range(0, len(data), PIECE_BYTES):
            if self.state == self.STATE_CLOSING:
                self._charge()
            if not self.ignores_input:
                super().dataReceived(data[start : start + PIECE_BYTES])

    def onOpen(self) -> None:
        """Called when the application has accepted the socket."""
        super().onOpen()
        early, self.early = self.early, b""
        self.dataReceived(early)

    def onMessageBegin(self, is_binary: bool) -> None:
        """Called with the head of a message's first frame."""
        self.frames_of_message = 0
        super().onMessageBegin(is_binary)

    def onMessageFrameBegin(self, length: int) -> None:
        """Called with the head of each frame of a message."""
        self.frames_of_message += 1
        if self.frames_of_message > 1 or self.state == self.STATE_CLOSING:
            self._charge()
        super().onMessageFrameBegin(length)

    def _keep_early(self, data: bytes) -> None:
        """Keep bytes until the socket is accepted, since Autobahn would parse them as another request."""
        self.early += data
        if len(self.early) > pillarbox_settings().COMMAND_BYTES:
            self.transport.abortConnection()

    def _charge(self) -> None:
        """Count one frame against the rate limit. Above it, close the socket and stop reading."""
        if self.bucket.take(1, self.clock.now) and not self.ignores_input:
            self.ignores_input = True
            self.sendClose(int(CloseCode.TOO_MANY))
            self.transport.pauseProducing()

    def onMessage(self, payload: bytes, is_binary: bool) -> None:
        """Called with each message. Messages after the close are dropped."""
        self.heard_at = self.clock.now
        if self.state != self.STATE_OPEN:
            return
        # Twice the number of commands that a correct client may send at once, one for each subscription.
        if self.application_queue.qsize() >= 2 * pillarbox_settings().SUBSCRIPTIONS:
            self.sendClose(int(CloseCode.TOO_MANY))
        else:
            super().onMessage(payload, is_binary)

    def onPing(self, payload: bytes) -> None:
        """Called with a ping. A client that doesn't read gets no pongs, which would fill the memory."""
        self.heard_at = self.clock.now
        self._charge()
        if self.drained.is_set():
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Called with a pong, solicited or not."""
        self.heard_at = self.clock.now
        self._charge()

    def duration(self) -> float:
        """Return the connection's age in seconds. Daphne limits handshakes by it, and sockets to a day."""
        return self.clock.now - self.opened_at

    def check_timeouts(self) -> None:
        """Called every other second."""
        super().check_timeouts()
        if self.state == self.STATE_OPEN:
            self._check_heartbeat()

    def _check_heartbeat(self) -> None:
        now, seconds = self.clock.now, pillarbox_settings().HEARTBEAT_SECONDS
        is_ping_open = self.pinged_at > self.heard_at
        if is_ping_open and now - self.heard_at >= 2 * seconds:
            self.sendClose(int(CloseCode.UNHEARD))
        elif now - self.pinged_at >= seconds:
            self.pinged_at = now
            self.sendPing()
