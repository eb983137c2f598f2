"""One client's connection."""

from daphne.ws_protocol import WebSocketProtocol


class NotificationProtocol(WebSocketProtocol):
    """One socket, below the application."""

    def sendMessage(self, payload: bytes, is_binary: bool = False) -> None:
        """
        Called with what the application sends: as long as it likes, and nothing after the close.

        Autobahn would hold it to the limit of the client's frames, and raise once it is closing.
        """
        if self.state == self.STATE_OPEN:
            self.sendFrame(opcode=2 if is_binary else 1, payload=payload)
