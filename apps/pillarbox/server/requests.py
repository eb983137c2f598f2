"""HTTP requests at Daphne's port: the head decides whether a request is served, and few are."""

from typing import Any

from twisted.web.http import HTTPChannel

from ..conf import pillarbox_settings
from ..deadlines import clock
from ..monitoring.probes.responses import METHODS, PROBES

#: The methods and paths that are served, for load balancers and Prometheus. Another server has the pages.
SERVED = {(method.encode(), path.encode()) for method in METHODS for path in PROBES}
#: A longer body is refused, because Twisted reads a whole body into memory before Daphne sees the request.
BODY_BYTES = 8192
#: How long a client whose body is refused may take to read the response.
LINGER_SECONDS = 2
#: Daphne takes the application's root path from this header, even if a client sends it. So it is removed.
ROOT_PATH = b"Daphne-Root-Path"


class HTTPConnection(HTTPChannel):
    """
    An HTTP connection. It ends if a request's head takes longer than ``HANDSHAKE_SECONDS``, if its body is
    too long, or if it isn't served.

    Between requests, and within a body, Twisted's own timeout applies: a minute without a byte.
    """

    is_in_head = False
    is_refused = False

    def connectionMade(self) -> None:
        """Called with a new connection."""
        self.idle_seconds = self.timeOut
        super().connectionMade()
        self._begin_head()

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes. The first ones after a response begin the next request."""
        if not self.requests and not self.is_in_head:
            self._begin_head()
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Called with received bytes. They don't extend the time for a head."""
        if not self.is_in_head:
            super().resetTimeout()

    def timeoutConnection(self) -> None:
        """Called at the timeout. If this process was stopped meanwhile, the client gets the rest of it."""
        if self.is_in_head and (left := self.head_until - clock().now) > 0:
            self.setTimeout(left)
        else:
            super().timeoutConnection()

    def allHeadersReceived(self) -> None:
        """Called when the head is complete. Refuse the request, or let Twisted read its body."""
        self.is_in_head = False
        self.setTimeout(self.idle_seconds)
        headers = self.requests[-1].requestHeaders
        headers.removeHeader(ROOT_PATH)
        if self.length is None or self.length > BODY_BYTES:
            self._refuse(b"413 Content Too Large")
        elif is_handshake(headers) or self._is_served():
            super().allHeadersReceived()
        else:
            self._refuse(b"404 Not Found")

    def _is_served(self) -> bool:
        # Twisted sets the request's public attributes only after its body.
        target: Any = self._path
        return bool(self.factory.server.serves(self._command, target.partition(b"?")[0]))

    def rawDataReceived(self, data: bytes) -> None:
        """Called with the bytes of a body. Those of a refused request are dropped."""
        if not self.is_refused:  # pragma: no branch  # depends on when a body arrives
            super().rawDataReceived(data)

    def _refuse(self, status: bytes) -> None:
        """Send a response without body, and stop reading."""
        self.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        if self.length == 0:
            self.loseConnection()
        else:
            # Closing a connection with unread bytes resets it, and the client may lose the response.
            transport: Any = self.transport
            transport.pauseProducing()
            self.setTimeout(LINGER_SECONDS)
        # Without a length, Twisted expects a body, and doesn't pass the request on.
        self.is_refused, self.length = True, None

    def _begin_head(self) -> None:
        self.is_in_head = True
        seconds = pillarbox_settings().HANDSHAKE_SECONDS
        self.head_until = clock().now + seconds
        self.setTimeout(seconds)


def is_handshake(headers: Any) -> bool:
    """Return whether Daphne treats a request with these headers as a WebSocket handshake."""
    upgrade: list[bytes] = headers.getRawHeaders(b"Upgrade") or [b""]
    return upgrade[0].lower() == b"websocket"
