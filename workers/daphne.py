"""Daphne, with the limits that the protocol announces and a polite end: ``python -m workers.daphne``."""

import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from daphne.cli import CommandLineInterface
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol

from apps.realtime.conf import realtime_settings

SERVICE_RESTART = 1012


class NotificationServer(Server):
    """Says why it ends a socket: too large a frame (1009), a restart (1012)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready_callable = self._close_with_a_code

    def _close_with_a_code(self) -> None:
        """Called when the factory of the sockets is made. Its default is to drop the connection."""
        self.ws_factory.setProtocolOptions(failByDrop=False)

    def kill_all_applications(self) -> Any:
        """Called before the server stops."""
        for protocol, details in list(self.connections.items()):
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN:
                protocol.serverClose(code=SERVICE_RESTART)
            if "application_instance" not in details:  # the parent expects one in each
                del self.connections[protocol]
        return super().kill_all_applications()


class CommandLine(CommandLineInterface):
    """Daphne's command line; its options are Daphne's."""

    server_class = NotificationServer


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    limit = str(realtime_settings().COMMAND_BYTES)
    limits = ["--websocket-max-message-size", limit, "--websocket-max-frame-size", limit]
    CommandLine().run([*limits, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
