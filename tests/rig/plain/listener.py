"""A client of the plain pattern, as a page might implement it."""

import asyncio
import json
from contextlib import suppress

import websockets

from pillarbox.client.reconnection import OPEN_SECONDS, WINDOW, pause

from ..listeners import Listener


class PlainListener(Listener):
    """A listener that joins its groups on each new socket, and reconnects as often as `Client` does."""

    characters = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        losses = 0
        while True:
            losses += 1
            with suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(
                    self.url,
                    additional_headers={"Origin": "http://127.0.0.1"},
                    compression=None,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=1,
                ) as socket:
                    for object_type, public_id, _ in self.subjects:
                        await socket.send(json.dumps({"object_type": object_type, "id": public_id}))
                    async for text in socket:
                        losses = 1
                        self._receive(text)
            await asyncio.sleep(pause(losses, WINDOW, None))

    def _receive(self, text: str | bytes) -> None:
        self.characters += len(text)
        frame = json.loads(text)
        streams = {f"{kind}.{public_id}": stream for kind, public_id, stream in self.subjects}
        stream = streams[frame["group"]]
        if frame["type"] != "subscribed":
            self.record_delivery(stream, frame["payload"]["title"])
        elif not self.is_ready.is_set():
            self.record_subscription(stream)
