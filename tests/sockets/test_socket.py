"""Tests of the life of a socket: it ends once and whole, even if the channel layer fails."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

from pillarbox.close_codes import CloseCode
from pillarbox.sockets.consumers import NotificationConsumer
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types.groups import group_for
from tests.communicators import connected, signed_in, sockets, subject, token_of
from tests.layers import PartlyAwayLayer
from tests.waiting import PATIENCE, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


@pytest.fixture
def refuses(settings, monkeypatch):
    """Return the set of operations that the layer refuses, empty at first."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.PartlyAwayLayer"}}
    refuses = set()
    monkeypatch.setattr(PartlyAwayLayer, "refuses", refuses)
    return refuses


@pytest.mark.parametrize("act", ["new_channel", "group_add"])
async def test_a_socket_without_a_channel_is_closed(refuses, demo, act):
    """
    The close code tells the client to reconnect. Nothing is left of the socket.
    """
    headers = await token_of(demo)
    refuses.add(act)
    async with connected(headers) as socket:
        assert 4500 == await socket.closed()
        assert await socket.sent_nothing_more()
    assert not housekeeping().sockets


async def test_an_unauthenticated_client_is_refused_as_ever(refuses):
    """
    The failure of the layer doesn't change its close code.
    """
    refuses.update({"new_channel", "group_discard"})
    async with connected([]) as socket:
        assert 4401 == await socket.closed()


async def test_a_failed_join_is_temporary(refuses, demo, ticket, caplog):
    """
    Nothing is subscribed, whichever groups were joined. Other subscriptions continue.
    """
    async with signed_in(demo) as socket:
        await socket.ask({"object_type": "me", "id": "me"})
        refuses.update({"group_add", "group_discard"})
        answer = await socket.ask({**subject(ticket), "ref": 1})
        assert ("unavailable", True, 1) == (answer["code"], answer["temporary"], answer["ref"])
        refuses.clear()
        assert "subscribed" == (await socket.ask(subject(ticket)))["type"]
        assert group_for(f"ticket:{ticket.pk}") in get_channel_layer().groups
    assert "The channel layer is away" in caplog.text


async def test_messages_of_a_group_that_could_not_be_left_are_dropped(refuses, demo, ticket):
    """
    The command is answered, and no notification follows.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        refuses.add("group_discard")
        answer = await socket.ask({"action": "unsubscribe", **subject(ticket)})
        assert ("unsubscribed", "requested") == (answer["type"], answer["reason"])
        message = {"type": "notification", "stream": f"ticket:{ticket.pk}", "stamp": 0}
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), message)
        assert await socket.answers()


async def subscribed(user, ticket):
    """Connect a socket, and subscribe it to a ticket."""
    communicator = WebsocketCommunicator(
        sockets, "/ws/notifications/", headers=await token_of(user)
    )
    await communicator.connect(PATIENCE)
    await communicator.receive_json_from(PATIENCE)
    await communicator.send_json_to(subject(ticket))
    assert "subscribed" == (await communicator.receive_json_from(PATIENCE))["type"]
    return communicator


async def test_a_socket_ends_even_if_it_cannot_leave(refuses, demo, ticket):
    """
    The consumer returns, and housekeeping forgets the socket.
    """
    communicator = await subscribed(demo, ticket)
    refuses.add("group_discard")
    await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
    await communicator.wait(PATIENCE)
    assert communicator.future.result() is None
    assert not housekeeping().sockets


async def test_a_socket_ends_whole_if_it_is_cancelled_meanwhile(refuses, demo, ticket):
    """
    However often it is cancelled while it ends.
    """
    communicator = await subscribed(demo, ticket)
    while not communicator.future.done():
        communicator.future.cancel()
        await asyncio.sleep(0)
    await until(lambda: not housekeeping().sockets)
    assert {} == get_channel_layer().groups


async def test_a_server_may_cancel_a_send():
    """
    The consumer ends if a cancellation doesn't come from us.
    """
    sending, never = asyncio.Event(), asyncio.Event()

    async def receive():
        return {"type": "websocket.connect"}

    async def send(_message):
        sending.set()
        await never.wait()

    scope = {"type": "websocket", "path": "/ws/notifications/", "headers": []}
    serving = asyncio.create_task(NotificationConsumer()(scope, receive, send))
    await sending.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not housekeeping().sockets


async def test_a_socket_is_closed_once():
    """
    A second close sends nothing.
    """
    said = []
    events = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 4401}])

    async def receive():
        return next(events)

    async def send(message):
        said.append(message)

    consumer = NotificationConsumer()
    scope = {"type": "websocket", "path": "/ws/notifications/", "headers": []}
    await consumer(scope, receive, send)
    await consumer.socket.connection.close(CloseCode.INTERNAL_ERROR)
    assert [4401] == [message["code"] for message in said if "code" in message]


async def test_clients_take_turns(demo, other):
    """
    A client is answered before all commands of a busier client are.
    """
    async with signed_in(demo) as hasty, signed_in(other) as patient:
        for _ in range(100):
            await hasty.send({"action": "ping"})
        assert await patient.answers()
        assert hasty.communicator.output_queue.qsize() < 100
        assert ["pong"] * 100 == [(await hasty.receive())["type"] for _ in range(100)]


@pytest.mark.parametrize(
    "unit", ["x", b"x", "é"], ids=["text", "bytes", "text of longer characters"]
)
async def test_a_frame_that_is_too_large(demo, settings, unit):
    """
    It ends the socket, whichever server lets it pass. As many bytes as are allowed do not.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "COMMAND_BYTES": 100}
    size = len(unit if isinstance(unit, bytes) else unit.encode())
    async with signed_in(demo) as socket:
        assert "malformed" == (await socket.ask(unit * (100 // size)))["code"]
        await socket.send(unit * (100 // size + 1))
        assert CloseCode.PROTOCOL_ABUSE == await socket.closed()
