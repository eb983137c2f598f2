"""A real Daphne with small limits, and clients that check every frame against the protocol."""

import asyncio
import json

import websockets
from rest_framework.authtoken.models import Token

from tests.communicators import in_thread
from tests.waiting import PATIENCE

PATH = "/ws/notifications/"


OWN = {"object_type": "me", "id": "me"}


#: Limits that are small enough for tests to reach them.
LIMITS = {
    "COMMAND_BYTES": 2000,
    "COMMANDS_PER_SECOND": 10,
    "MALFORMED_FRAMES": 3,
    "SUBSCRIPTIONS": 5,
    "SOCKETS_PER_USER": 3,
    "SNAPSHOT_ROWS": 2,
    "HEARTBEAT_SECONDS": 60,
    "POSITION_CHECK_SECONDS": 0.5,
    "SLOW_SECONDS": 1,
    "RECONNECT_MIN_MS": 700,
    "RECONNECT_MAX_MS": 9000,
}


def serve(site, **others):
    """Start Daphne with these limits, some of them overridden."""
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.server.daphne_settings",
        "DAPHNE_PILLARBOX": json.dumps(LIMITS | others),
    }
    site.start("daphne")


class Client:
    """A socket that checks every frame against the protocol."""

    def __init__(self, connection, protocol):
        self.socket, self.protocol = connection, protocol

    async def send(self, frame):
        await self.socket.send(json.dumps(frame))

    async def receive_any(self):
        """Return the next frame, heartbeats included."""
        async with asyncio.timeout(PATIENCE):
            return self.protocol.check_frame(await self.socket.recv())

    async def receive(self):
        """Return the next frame that is no heartbeat."""
        frame = await self.receive_any()
        return await self.receive() if frame["type"] == "ping" else frame

    async def ask(self, frame):
        await self.send(frame)
        return await self.receive()

    async def closed(self):
        """Wait until the server closes the socket, and return the close code. Skips frames before that."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.receive_any()
        except websockets.ConnectionClosed:
            code = self.socket.close_code
        self.protocol.check_close_code(code)
        return code


async def headers_of(user):
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    return {"Authorization": f"Token {token.key}"}


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}
