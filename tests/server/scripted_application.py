"""An ASGI application whose sockets execute commands of their clients. HTTP returns their journals."""

import asyncio
import json
import time
from typing import Any

#: The journals of the sockets, by path.
journals: dict[str, dict[str, Any]] = {}
released = asyncio.Event()


class Turns:
    """A counter of the loop's iterations, at most fifty a second. It pauses while the process is stopped."""

    def __init__(self):
        self.count = 0
        self.task = None

    def begin(self):
        """Start counting, if it hasn't started yet."""
        self.task = self.task or asyncio.create_task(self._run())

    async def _run(self):
        while True:
            await asyncio.sleep(0.02)
            self.count += 1


turns = Turns()


async def application(scope, receive, send):
    """Serve a socket or a request. The socket of ``/later`` is accepted after a request for ``/release``."""
    turns.begin()
    if scope["root_path"]:  # pragma: no cover  # only if a test fails
        journals.setdefault(scope["path"], {})["root_path"] = scope["root_path"]
    if scope["type"] == "websocket":
        if scope["path"] == "/later":
            journals["/later"] = {"asked": True}
            await released.wait()
        await ScriptedSocket(receive, send, journals.setdefault(scope["path"], {})).run()
    else:
        await answer(scope["path"], receive, send)


class ScriptedSocket:
    """A socket that executes its client's commands, and counts other frames."""

    def __init__(self, receive, send, journal):
        self.receive, self.send, self.journal = receive, send, journal
        self.journal.update(received=0, late=0)
        self.note_sent(0)

    async def run(self):
        """Accept the socket, and execute commands until it is closed."""
        await self.receive()
        await self.send({"type": "websocket.accept"})
        while (message := await self.receive())["type"] == "websocket.receive":
            match json.loads(message["text"]):
                case {"command": "send", **options}:
                    await self.send_frames(**options)
                case {"command": "hold"}:
                    self.journal["holds"] = True
                    await released.wait()
                case _:
                    self.journal["received"] += 1
        self.journal["ended"] = message["code"]

    def note_sent(self, number):
        """Record how many frames were sent, and when: by the clock and by the loop's iterations."""
        self.journal.update(sent=number, sent_at=time.monotonic(), sent_in=turns.count)

    async def send_frames(self, frames, size, seconds=None, code=None):
        """Send numbered frames of ``size`` for at most ``seconds``; then close with the code, if any."""
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
    """Send a socket's journal, with the time since its last frame. ``/slowly`` waits for ``/release``."""
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
