"""Clients of a run that are treated as they should not be."""

import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from apps.realtime.client import RefusedError
from config.verify.listeners import OurListener

HELLO = {"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": 500, "max_ms": 20000}}
SUBJECT = {"object_type": "ticket", "id": "abc"}


@asynccontextmanager
async def server(*answers):
    """A server that has these answers to the first command; its port."""

    async def talk(socket):
        await socket.send(json.dumps(HELLO))
        command = json.loads(await socket.recv())
        for answer in answers:
            ref = {"ref": command["ref"], "index": 0} if answer["type"] != "unsubscribed" else {}
            await socket.send(json.dumps({**answer, **ref, **SUBJECT}))
        await socket.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as running:
        yield running.sockets[0].getsockname()[1]


def listener(port):
    about = {"name": "kim", "token": "", "is_allowed": True, "subjects": [["ticket", "abc"]]}
    return OurListener(about, port, [])


async def test_who_may_see_it_is_refused():
    """
    That is an error, and nothing that it would wait for.
    """
    async with server({"type": "error", "code": "not_found", "detail": "No."}) as port:
        with pytest.raises(ExceptionGroup) as caught:
            await listener(port).run()
    assert caught.group_contains(RefusedError)


async def test_who_may_see_it_is_sent_away():
    """
    That is one, too, though it was let in.
    """
    subscribed = {"type": "subscribed", "epoch": "e", "offset": 0}
    revoked = {"type": "unsubscribed", "reason": "revoked"}
    async with server(subscribed, revoked) as port:
        one = listener(port)
        with pytest.raises(ExceptionGroup) as caught:
            await one.run()
    assert caught.group_contains(RuntimeError, match="ticket abc may not be followed any more")
    assert {"ticket abc"} == one.streams
