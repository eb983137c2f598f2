"""A WebSocket client of which a test controls every byte."""

import json
import select
import socket
from collections import deque
from itertools import islice

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.waiting import PATIENCE


class BareSocket:
    """A socket that reads, answers pings and answers the close only when a test calls for it."""

    def __init__(self, port, path, *, is_narrow=False, **headers):
        self.arrived = deque()
        self.connection = socket.socket()
        self.connection.settimeout(PATIENCE)
        if is_narrow:  # otherwise the kernel buffers megabytes
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.connection.connect(("127.0.0.1", port))
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), max_size=None)
        request = self.protocol.connect()
        request.headers.update(headers)
        self.protocol.send_request(request)
        self.send_answers()
        self.arrived.extend(self.read())  # frames may follow the handshake's answer at once

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def read(self):
        """Return the frames of the next bytes; an empty list if the server has closed."""
        while True:
            is_over, events = self._receive(1 << 20)
            if events or is_over:
                return [event for event in events if isinstance(event, Frame)]

    def read_some(self, most):
        """Read at most ``most`` bytes; return the frames that are complete."""
        _, events = self._receive(most)
        return [event for event in events if isinstance(event, Frame)]

    def _receive(self, most):
        received = self.connection.recv(most)
        self.protocol.receive_data(received) if received else self.protocol.receive_eof()
        return not received, self.protocol.events_received()

    def can_read(self):
        """True if bytes arrive."""
        return bool(select.select([self.connection], [], [], PATIENCE)[0])

    def frames(self):
        """Yield frames until the server closes."""
        while self.arrived or (self.close is None and self.protocol.state is not State.CLOSED):
            if self.arrived:
                yield self.arrived.popleft()
            else:
                self.arrived.extend(self.read())

    def numbers(self, count=None):
        """Return the numbers in the next ``count`` text frames, or in all frames before the close."""
        texts = (frame.data for frame in self.frames() if frame.opcode is Opcode.TEXT)
        return [int(text) for text in islice(texts, count)]

    @property
    def close(self):
        """The server's close frame, if it has been read."""
        return self.protocol.close_rcvd

    def send_command(self, command, **details):
        """Send the scripted application a command."""
        self.send_text(json.dumps({"command": command, **details}))

    def send_text(self, text):
        """Send a text frame, without any answers that are due."""
        self.protocol.data_to_send()
        self.protocol.send_text(text.encode())
        self.send_answers()

    def send_pings(self, times):
        """Send pings."""
        for _ in range(times):
            self.protocol.send_ping(b"of the client")
        self.send_answers()

    def send_fragments(self, times):
        """Send a message in empty fragments, without an end."""
        if not self.protocol.expect_continuation_frame:
            self.protocol.send_text(b"", fin=False)
        for _ in range(times):
            self.protocol.send_continuation(b"", fin=False)
        self.send_answers()

    def send_pong(self):
        """Send an unsolicited pong."""
        self.protocol.data_to_send()
        self.send_pongs(1)

    def send_pongs(self, times):
        """Send unsolicited pongs."""
        for _ in range(times):
            self.protocol.send_pong(b"unasked")
        self.send_answers()

    def send_close(self):
        """Send a close frame."""
        self.protocol.send_close()
        self.send_answers()

    def send_answers(self):
        """Send the answers that are due: pongs, and the answer to a close."""
        for piece in self.protocol.data_to_send():
            self.connection.sendall(piece)
