"""A real Daphne with small limits, and clients whose every frame is looked at."""

import asyncio
import json

import websockets
from rest_framework.authtoken.models import Token

from tests.sockets import in_thread
from tests.waiting import PATIENCE

PATH = "/ws/notifications/"


OWN = {"object_type": "me", "id": "me"}


#: Small enough to be reached.
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
    """Start Daphne with these limits, or others."""
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.workers.daphne_settings",
        "DAPHNE_REALTIME": json.dumps(LIMITS | others),
    }
    site.start("daphne")


class Client:
    """A socket of the library, whose every frame is looked at."""

    def __init__(self, connection, protocol):
        self.socket, self.protocol = connection, protocol

    async def send(self, frame):
        await self.socket.send(json.dumps(frame))

    async def hear(self):
        """Return the next frame, whatever it is."""
        async with asyncio.timeout(PATIENCE):
            return self.protocol.look_at(await self.socket.recv())

    async def receive(self):
        """Return the next frame that is no heartbeat."""
        frame = await self.hear()
        return await self.receive() if frame["type"] == "ping" else frame

    async def ask(self, frame):
        await self.send(frame)
        return await self.receive()

    async def closed(self):
        """Return the code with which the server ends the socket, whatever it says before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.hear()
        except websockets.ConnectionClosed:
            code = self.socket.close_code
        self.protocol.look_at_close(code)
        return code


async def headers_of(user):
    token, _ = await in_thread(Token.objects.get_or_create, user=user)
    return {"Authorization": f"Token {token.key}"}


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}
