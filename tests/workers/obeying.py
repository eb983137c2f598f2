"""An application for Daphne: it treats its sockets as they tell it to, and says over HTTP how it goes."""

import asyncio
import json
import time
from typing import Any

#: What each socket did, by its path.
journals: dict[str, dict[str, Any]] = {}
released = asyncio.Event()


class Turns:
    """How often the loop has gone round, fifty times a second at most: not while its process stands still."""

    def __init__(self):
        self.count = 0
        self.task = None

    def begin(self):
        """Count from now on, if nobody has begun to."""
        self.task = self.task or asyncio.create_task(self._run())

    async def _run(self):
        while True:
            await asyncio.sleep(0.02)
            self.count += 1


turns = Turns()


async def application(scope, receive, send):
    """Obey a socket, or answer a request."""
    turns.begin()
    if scope["type"] == "websocket":
        await Obedience(receive, send, journals.setdefault(scope["path"], {})).obey()
    else:
        await answer(scope["path"], receive, send)


class Obedience:
    """One socket, which sends orders; other frames are counted."""

    def __init__(self, receive, send, journal):
        self.receive, self.send, self.journal = receive, send, journal
        self.journal.update(received=0, late=0)
        self.note_sent(0)

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

    def note_sent(self, number):
        """Note how much is sent, and when: by the clock, and by how often the loop has gone round."""
        self.journal.update(sent=number, sent_at=time.monotonic(), sent_in=turns.count)

    async def send_frames(self, frames, size, seconds=None, code=None):
        try:
            async with asyncio.timeout(seconds):
                for number in range(frames):
                    text = str(number).ljust(size)
                    await self.send({"type": "websocket.send", "text": text})
                    self.note_sent(number + 1)
        except TimeoutError:
            self.journal["late"] += 1
            self.note_sent(self.journal["sent"])
        if code is not None:
            await self.send({"type": "websocket.close", "code": code})


async def answer(path, receive, send):
    """Say what a socket did and for how long it hasn't sent; ``/slowly`` takes until ``/release``."""
    message = await receive()
    if path == "/release":
        released.set()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/slowly":
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await released.wait()
    journal = dict(journals.get(path, {}), body=len(message.get("body", b"")))
    if "sent_at" in journal:
        journal["idle"] = time.monotonic() - journal.pop("sent_at")
        journal["turns"] = turns.count - journal.pop("sent_in")
    await send({"type": "http.response.body", "body": json.dumps(journal).encode()})
