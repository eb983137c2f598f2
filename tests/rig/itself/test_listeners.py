"""Clients of a run whose server does what it should not."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from apps.realtime.client import RefusedError
from tests.rig.history import Observed
from tests.rig.listeners import OurListener

HELLO = {"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": 500, "max_ms": 20000}}
SUBJECT = {"object_type": "ticket", "id": "abc"}
SUBJECTS = ["ticket", "abc", "ticket:1"]


@asynccontextmanager
async def server(*answers):
    """A server that has these answers to the first command; its port."""

    async def talk(socket):
        await socket.send(json.dumps(HELLO))
        command = json.loads(await socket.recv())
        for answer in answers:
            is_answer = answer["type"] in {"subscribed", "error"}
            ref = {"ref": command["ref"], "index": 0} if is_answer else {}
            await socket.send(json.dumps({**SUBJECT, **answer, **ref}))
        await socket.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as running:
        yield running.sockets[0].getsockname()[1]


def listener(port, *, is_allowed=True):
    about = {"name": "kim", "token": "", "is_allowed": is_allowed, "subjects": [SUBJECTS]}
    return OurListener(about, port, [])


async def test_a_client_that_may_see_it_is_refused():
    """
    That is an error, and nothing that it would wait for.
    """
    async with server({"type": "error", "code": "not_found", "detail": "No."}) as port:
        with pytest.raises(ExceptionGroup) as caught:
            await listener(port).run()
    assert caught.group_contains(RefusedError)


async def test_a_client_that_may_see_it_is_sent_away():
    """
    That is one, too, though it was let in.
    """
    subscribed = {"type": "subscribed", "epoch": "e", "offset": 0}
    revoked = {"type": "unsubscribed", "reason": "revoked"}
    async with server(subscribed, revoked) as port:
        one = listener(port)
        with pytest.raises(ExceptionGroup) as caught:
            await one.run()
    assert caught.group_contains(RuntimeError, match="ticket:1 may not be followed any more")
    assert {"ticket:1"} == one.streams


async def test_a_client_that_may_not_see_it_is_refused():
    """
    As if it weren't there.
    """
    async with server({"type": "error", "code": "not_found", "detail": "No."}) as port:
        one = listener(port, is_allowed=False)
        # In one line, because coverage loses its way in the await.
        assert (None, True) == (await one.run(), one.is_ready.is_set())


async def test_a_client_that_may_not_see_it_gets_another_answer():
    """
    That doesn't show that it is secret.
    """
    async with server({"type": "error", "code": "limit", "detail": "No."}) as port:
        with pytest.raises(ExceptionGroup) as caught:
            await listener(port, is_allowed=False).run()
    assert caught.group_contains(RefusedError)


async def test_a_client_that_may_not_see_it_can_subscribe():
    """
    That is an error before anything is shown.
    """
    async with server({"type": "subscribed", "epoch": "e", "offset": 0}) as port:
        one = listener(port, is_allowed=False)
        running = asyncio.create_task(one.run())
        await one.is_ready.wait()
        running.cancel()
    assert {"foreign": 1} == errors(one)


async def test_what_is_sent_twice_is_an_error():
    """
    Though the client shows it once.
    """
    subscribed = {"type": "subscribed", "epoch": "e", "offset": 0}
    about = {"type": "UPDATE_TICKET", "event_id": "1", "at": "now", "epoch": "e"}
    update = {**about, "payload": {"title": "1"}, "offset": 1}
    last = {**about, "payload": {"title": "2"}, "offset": 2}
    async with server(subscribed, update, update, last) as port:
        one = listener(port)
        running = asyncio.create_task(one.run())
        while "2" not in one.shown["ticket:1"]:
            await asyncio.sleep(0.01)
        running.cancel()
    assert {"repeated": 1} == errors(one)


def errors(one):
    found = Counter()
    for record in [*one.history, *one.observed()]:
        if isinstance(record, Observed):
            found[record.error] += record.times
    return found
