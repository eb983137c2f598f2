"""Daphne, with the limits that the protocol announces and a polite end: ``python -m workers.daphne``."""

import json
import math
import os
import sys
from typing import Any

import django
from daphne.cli import CommandLineInterface
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from twisted.internet import defer, reactor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

# Models exist only from here on.
from apps.realtime.close_codes import CloseCode  # noqa: E402
from apps.realtime.conf import realtime_settings  # noqa: E402
from apps.realtime.layers import standing  # noqa: E402
from apps.realtime.rounds import count_sockets  # noqa: E402

from .connections import FAREWELL_SECONDS, HTTPConnection, NotificationProtocol  # noqa: E402
from .readiness import stopping  # noqa: E402
from .reports import Reporter  # noqa: E402

#: Connections that may wait to be let in: after a restart all clients come at once. Twisted's 50 has the
#: others try again after a second, then two, then four.
BACKLOG = 1024
#: How long the clients have to answer the close when the server ends.
CLOSE_SECONDS = 2.0


class NotificationServer(Server):
    """Waits for slow readers, says why it ends a socket, and ends when it is told to."""

    connections: dict[Any, dict[str, Any]]
    endpoints: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready_callable = self._prepare_connections
        self.ports: list[Any] = []
        self.endpoints = [
            f"{e}:backlog={BACKLOG}" if e.startswith("tcp:") else e for e in self.endpoints
        ]
        # Daphne's ping ends a socket without a code. The sockets have their own.
        self.ping_interval, self.ping_timeout = math.inf, 0

    def _prepare_connections(self) -> None:
        """Called when the factories are made, before the first connection."""
        self.http_factory.protocol = HTTPConnection
        self.ws_factory.protocol = NotificationProtocol
        # By default a failure drops the connection. Daphne sees to it that no handshake takes too long.
        self.ws_factory.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=FAREWELL_SECONDS,
        )

    def listen_success(self, port: Any) -> None:
        """Called when a port is listened to."""
        super().listen_success(port)
        self.ports.append(port)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """
        Called when an application sends. Returns when the transport takes more, or is gone.

        Who gives up waiting may send again; the frame is on its way all the same.
        """
        await super().handle_reply(protocol, message)
        if message["type"] == "websocket.send" and not protocol.drained.is_set():
            await protocol.drained.wait()

    def kill_all_applications(self) -> Any:
        """Called before the server stops; it waits for what is returned."""
        stopping.set()
        for port in self.ports:
            # Who is told to come back must not come back here.
            port.stopListening()
        sockets = [
            protocol
            for protocol in self.connections
            if isinstance(protocol, WebSocketProtocol)
            and protocol.state in {protocol.STATE_OPEN, protocol.STATE_CLOSING}
        ]
        for socket in sockets:
            # Not sendClose: it takes only the codes of applications, and 1012 is a server's.
            socket.sendCloseFrame(code=int(CloseCode.SERVICE_RESTART), reasonUtf8=_reconnect())
        closed = defer.DeferredList([socket.is_closed for socket in sockets])
        closed.addTimeout(CLOSE_SECONDS, reactor, onTimeoutCancel=lambda *_: None)
        return closed.addCallback(self._end_applications)

    def _end_applications(self, _: Any) -> Any:
        """Called when the sockets are closed, or have had their time."""
        # The parent expects an application for each connection; one that just closed has none.
        self.connections = {
            protocol: details
            for protocol, details in self.connections.items()
            if "application_instance" in details
        }
        return super().kill_all_applications()


def _reconnect() -> bytes:
    """Return the window in which clients come back, as a reason: at most 123 bytes."""
    conf = realtime_settings()
    window = {"min_ms": conf.RECONNECT_MIN_MS, "max_ms": conf.RECONNECT_MAX_MS}
    return json.dumps({"reconnect": window}, separators=(",", ":")).encode()


def facts() -> dict[str, Any]:
    """Return how this process is, as JSON; from any thread."""
    sockets, subscriptions = count_sockets()
    return {"sockets": sockets, "subscriptions": subscriptions, "layer": standing()}


class CommandLine(CommandLineInterface):
    """Daphne's command line; its options are Daphne's, but for pings."""

    server_class = NotificationServer


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    limit = str(realtime_settings().COMMAND_BYTES)
    limits = ["--websocket-max-message-size", limit, "--websocket-max-frame-size", limit]
    if settings.LOG_FORMAT == "json":  # Daphne's access log is none
        limits += ["--verbosity", "0"]
    with Reporter("daphne", facts):
        CommandLine().run([*limits, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
