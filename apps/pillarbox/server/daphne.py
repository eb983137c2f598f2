"""Daphne with the protocol's limits and an orderly shutdown."""

import json
import math
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import defer, reactor

from ..close_codes import CloseCode
from ..conf import pillarbox_settings
from ..monitoring.probes.readiness import stopping
from ..monitoring.reporter import Reporter
from .connections import CLOSE_TIMEOUT_SECONDS, NotificationProtocol
from .lifespan import facts
from .probes import with_probes
from .requests import SERVED, HTTPConnection

#: The kernel's queue of new connections. After a restart all clients connect at once; beyond Twisted's
#: default of 50, they would try again after one second, then two, then four.
BACKLOG = 1024
#: How long the server waits at shutdown for clients to answer the close.
SHUTDOWN_SECONDS = 2.0


class NotificationServer(Server):
    """Daphne's server, with back-pressure, and a shutdown that tells clients when to reconnect."""

    connections: dict[Any, dict[str, Any]]
    endpoints: list[str]

    def __init__(self, application: Any, **kwargs: Any) -> None:
        super().__init__(with_probes(application), **kwargs)
        self.ready_callable = self._set_protocols
        self.ports: list[Any] = []
        self.endpoints = [
            f"{e}:backlog={BACKLOG}" if e.startswith("tcp:") else e for e in self.endpoints
        ]
        # A timeout of Daphne's ping closes without a code. `NotificationProtocol` sends pings itself.
        self.ping_interval, self.ping_timeout = math.inf, 0

    def _set_protocols(self) -> None:
        """Called when the factories exist, before the first connection."""
        self.http_factory.protocol = HTTPConnection
        self.ws_factory.protocol = NotificationProtocol
        # By default a failure drops the connection without a code. Daphne itself limits handshakes.
        self.ws_factory.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=CLOSE_TIMEOUT_SECONDS,
        )

    def listen_success(self, port: Any) -> None:
        """Called when the server listens on a port."""
        super().listen_success(port)
        self.ports.append(port)

    def serves(self, method: bytes, path: bytes) -> bool:
        """Return whether a request that is no WebSocket handshake is served."""
        return (method, path) in SERVED

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """
        Called when an application sends. Sends at once, then waits while the server's send buffer is full.

        The wait ends when the client is gone. The frame is sent even if the application cancels the wait.
        """
        await super().handle_reply(protocol, message)
        if message["type"] == "websocket.send" and not protocol.drained.is_set():
            await protocol.drained.wait()

    def kill_all_applications(self) -> Any:
        """Called at shutdown. Closes the sockets; the server stops when the returned Deferred fires."""
        stopping.set()
        for port in self.ports:
            # A client that reconnects must not reach this process again.
            port.stopListening()
        sockets = [
            protocol
            for protocol in self.connections
            if isinstance(protocol, WebSocketProtocol)
            and protocol.state in {protocol.STATE_OPEN, protocol.STATE_CLOSING}
        ]
        for socket in sockets:
            # `sendClose` accepts only codes of applications; 1012 is a code of servers.
            socket.sendCloseFrame(code=int(CloseCode.SERVICE_RESTART), reasonUtf8=_reconnect())
        closed = defer.DeferredList([socket.is_closed for socket in sockets])
        closed.addTimeout(SHUTDOWN_SECONDS, reactor, onTimeoutCancel=lambda *_: None)
        return closed.addCallback(self._end_applications)

    def _end_applications(self, _: Any) -> Any:
        """Called when the sockets are closed, or after `SHUTDOWN_SECONDS`."""
        # The parent expects an application for each connection, but one that was just closed has none.
        self.connections = {
            protocol: details
            for protocol, details in self.connections.items()
            if "application_instance" in details
        }
        return super().kill_all_applications()


def _reconnect() -> bytes:
    """Return a close reason, at most 123 bytes: the window in which clients reconnect, as JSON."""
    conf = pillarbox_settings()
    window = {"min_ms": conf.RECONNECT_MIN_MS, "max_ms": conf.RECONNECT_MAX_MS}
    return json.dumps({"reconnect": window}, separators=(",", ":")).encode()


class CommandLine(CommandLineInterface):
    """Daphne's command line. It has Daphne's options, but those for pings have no effect."""

    server_class = NotificationServer


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM. The application has been imported, and has set Django up."""
    limit = str(pillarbox_settings().COMMAND_BYTES)
    limits = ["--websocket-max-message-size", limit, "--websocket-max-frame-size", limit]
    if not pillarbox_settings().ACCESS_LOG:
        limits += ["--verbosity", "0"]
    with Reporter("daphne", facts):
        CommandLine().run([*limits, *arguments])
