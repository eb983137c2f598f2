"""An application for Daphne: it treats its sockets as they tell it to, and says over HTTP how it goes."""

import asyncio
import json
import time
from typing import Any

#: What each socket did, by its path.
journals: dict[str, dict[str, Any]] = {}
released = asyncio.Event()


async def application(scope, receive, send):
    """Obey a socket, or answer a request."""
    if scope["type"] == "websocket":
        await Obedience(receive, send, journals.setdefault(scope["path"], {})).obey()
    else:
        await answer(scope["path"], receive, send)


class Obedience:
    """One socket, which sends orders; other frames are counted."""

    def __init__(self, receive, send, journal):
        self.receive, self.send, self.journal = receive, send, journal
        self.journal.update(received=0, sent=0, sent_at=time.monotonic(), late=0)

    async def obey(self):
        await self.receive()
        await self.send({"type": "websocket.accept"})
        while (message := await self.receive())["type"] == "websocket.receive":
            match json.loads(message["text"]):
                case {"order": "send", **order}:
                    await self.send_frames(**order)
                case {"order": "hold"}:
                    self.journal["holds"] = True
                    await released.wait()
                case _:
                    self.journal["received"] += 1
        self.journal["ended"] = message["code"]

    async def send_frames(self, frames, size, seconds=None, code=None):
        try:
            async with asyncio.timeout(seconds):
                for number in range(frames):
                    text = str(number).ljust(size)
                    await self.send({"type": "websocket.send", "text": text})
                    self.journal.update(sent=number + 1, sent_at=time.monotonic())
        except TimeoutError:
            self.journal.update(late=self.journal["late"] + 1, sent_at=time.monotonic())
        if code is not None:
            await self.send({"type": "websocket.close", "code": code})


async def answer(path, receive, send):
    """Say what a socket did and for how long it hasn't sent; ``/slowly`` takes until ``/release``."""
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    if path == "/release":
        released.set()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/slowly":
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await released.wait()
    journal = dict(journals.get(path, {}), body=len(body + message.get("body", b"")))
    if "sent_at" in journal:
        journal["idle"] = time.monotonic() - journal.pop("sent_at")
    await send({"type": "http.response.body", "body": json.dumps(journal).encode()})
