"""A WebSocket client whose every byte is the test's decision."""

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
    """Reads when it is told to, and answers pings and the close when it is told to."""

    def __init__(self, port, path, *, is_narrow=False, **headers):
        self.arrived = deque()
        self.connection = socket.socket()
        self.connection.settimeout(PATIENCE)
        if is_narrow:  # else the kernel holds megabytes for it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.connection.connect(("127.0.0.1", port))
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), max_size=None)
        request = self.protocol.connect()
        request.headers.update(headers)
        self.protocol.send_request(request)
        self.answer()
        self.arrived.extend(self.read())  # with the handshake's answer something may come

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def read(self):
        """Return the frames of the next bytes: none, if the server has nothing more to say."""
        while True:
            is_over, events = self._receive(1 << 20)
            if events or is_over:
                return [event for event in events if isinstance(event, Frame)]

    def sip(self, most):
        """Read so many bytes, no more; return the frames that are whole then."""
        _, events = self._receive(most)
        return [event for event in events if isinstance(event, Frame)]

    def _receive(self, most):
        received = self.connection.recv(most)
        self.protocol.receive_data(received) if received else self.protocol.receive_eof()
        return not received, self.protocol.events_received()

    def can_read(self):
        """Whether something comes to be read."""
        return bool(select.select([self.connection], [], [], PATIENCE)[0])

    def frames(self):
        """Yield what comes until the server closes."""
        while self.arrived or (self.close is None and self.protocol.state is not State.CLOSED):
            if self.arrived:
                yield self.arrived.popleft()
            else:
                self.arrived.extend(self.read())

    def numbers(self, count=None):
        """Return the numbers of so many text frames, or of those before the close."""
        texts = (frame.data for frame in self.frames() if frame.opcode is Opcode.TEXT)
        return [int(text) for text in islice(texts, count)]

    @property
    def close(self):
        """The close frame that the server sent, if it has been read."""
        return self.protocol.close_rcvd

    def order(self, order, **details):
        """Tell the application what to do."""
        self.say(json.dumps({"order": order, **details}))

    def say(self, text):
        """Send a text frame, and nothing that is owed."""
        self.protocol.data_to_send()
        self.protocol.send_text(text.encode())
        self.answer()

    def ping(self, times):
        """Send pings."""
        for _ in range(times):
            self.protocol.send_ping(b"of the client")
        self.answer()

    def pong(self):
        """Send a pong that nobody asked for."""
        self.protocol.data_to_send()
        self.protocol.send_pong(b"unasked")
        self.answer()

    def leave(self):
        """Send a close."""
        self.protocol.send_close()
        self.answer()

    def answer(self):
        """Send what is owed: pongs, the answer to a close."""
        for piece in self.protocol.data_to_send():
            self.connection.sendall(piece)
