"""Tests of listeners whose server misbehaves."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from pillarbox.client.client import RefusedError
from tests.rig.history import Observed
from tests.rig.listeners import OurListener
from tests.waiting import until

HELLO = {"type": "hello", "heartbeat_seconds": 25, "reconnect": {"min_ms": 500, "max_ms": 20000}}
SUBJECT = {"object_type": "ticket", "id": "abc"}
SUBJECTS = ["ticket", "abc", "ticket:1"]


@asynccontextmanager
async def server(*answers):
    """Run a server that answers the first command so, and refuses all others. Yields its port."""

    async def answer_commands(socket):
        await socket.send(json.dumps(HELLO))
        following = answers
        async for command in socket:
            for answer in following:
                is_answer = answer["type"] in {"subscribed", "error"}
                ref = {"ref": json.loads(command)["ref"], "index": 0} if is_answer else {}
                await socket.send(json.dumps({**SUBJECT, **answer, **ref}))
            following = [{"type": "error", "code": "not_found", "detail": "No."}]

    async with serve(answer_commands, "127.0.0.1", 0) as running:
        yield running.sockets[0].getsockname()[1]


def listener(port, *, is_allowed=True, is_guest=False):
    about = {"name": "kim", "token": "", "is_allowed": is_allowed, "is_guest": is_guest}
    return OurListener({**about, "subjects": [SUBJECTS]}, port, [])


async def test_a_refused_client_with_the_right():
    """
    The listener fails at once if the server refuses a client that has the right.
    """
    async with server({"type": "error", "code": "not_found", "detail": "No."}) as port:
        with pytest.raises(ExceptionGroup) as caught:
            await listener(port).run()
    assert caught.group_contains(RefusedError)


async def test_a_revoked_client_with_the_right():
    """
    The listener fails if the server ends the subscription of a client that has the right.
    """
    subscribed = {"type": "subscribed", "epoch": "e", "offset": 0}
    revoked = {"type": "unsubscribed", "reason": "revoked"}
    async with server(subscribed, revoked) as port:
        one = listener(port)
        with pytest.raises(ExceptionGroup) as caught:
            await one.run()
    assert caught.group_contains(
        RuntimeError, match="The server ended the subscription to ticket:1"
    )
    assert {"ticket:1"} == one.streams


async def test_a_refused_client_without_the_right():
    """
    A refusal as ``not_found`` is correct, and the client doesn't wait.
    """
    async with server({"type": "error", "code": "not_found", "detail": "No."}) as port:
        one = listener(port, is_allowed=False)
        # In one line, because coverage doesn't trace the line after such an await.
        assert (None, True) == (await one.run(), one.is_ready.is_set())


async def test_a_guest_subscribes_again():
    """
    A guest may be refused or revoked without an error; its deliveries are recorded.
    """
    subscribed = {"type": "subscribed", "epoch": "e", "offset": 0}
    resynced = {"type": "resynced", "epoch": "e", "offset": 3, "reason": "rights", "payload": {}}
    about = {"type": "UPDATE_TICKET", "event_id": "1", "at": "now", "epoch": "e"}
    update = {**about, "payload": {"title": "1"}, "offset": 4}
    revoked = {"type": "unsubscribed", "reason": "revoked"}
    async with server(subscribed, resynced, update, revoked) as port:
        one = listener(port, is_guest=True)
        running = asyncio.create_task(one.run())
        await until(lambda: one.refused > 1)
        running.cancel()
    assert ({"1"}, {}) == (one.shown["ticket:1"], errors(one))


async def test_a_client_without_the_right_gets_another_error():
    """
    The listener fails: other errors than ``not_found`` don't prove that access is denied.
    """
    async with server({"type": "error", "code": "limit", "detail": "No."}) as port:
        with pytest.raises(ExceptionGroup) as caught:
            await listener(port, is_allowed=False).run()
    assert caught.group_contains(RefusedError)


async def test_a_client_without_the_right_can_subscribe():
    """
    The subscription is an error even before anything is shown.
    """
    async with server({"type": "subscribed", "epoch": "e", "offset": 0}) as port:
        one = listener(port, is_allowed=False)
        running = asyncio.create_task(one.run())
        await one.is_ready.wait()
        running.cancel()
    assert {"foreign": 1} == errors(one)


async def test_a_repetition_is_an_error():
    """
    A notification sent twice is counted although `Client` drops the repetition.
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
