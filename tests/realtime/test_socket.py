"""A socket ends once, when it is told; a channel layer that is away takes none with it, whoever made it."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

from apps.realtime.close_codes import CloseCode
from apps.realtime.consumers import NotificationConsumer
from apps.realtime.groups import group_for
from apps.realtime.rounds import rounds
from apps.realtime.routing import websocket
from tests.layers import UnjoinableLayer
from tests.sockets import connected, signed_in, subject, token_of
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


@pytest.fixture
def refuses(settings, monkeypatch):
    """What the layer refuses: nothing yet."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.UnjoinableLayer"}}
    refuses = set()
    monkeypatch.setattr(UnjoinableLayer, "refuses", refuses)
    return refuses


@pytest.mark.parametrize("act", ["new_channel", "group_add"])
async def test_who_cannot_join_is_to_come_back(refuses, demo, act):
    """
    The socket is accepted, and ends with the code that says so; nothing of it is left.
    """
    headers = await token_of(demo)
    refuses.add(act)
    async with connected(headers) as socket:
        assert 4500 == await socket.closed()
        assert await socket.says_no_more()
    assert not rounds().sockets


async def test_a_stranger_learns_nothing_of_it(refuses):
    """
    Who may not come in is told that, as ever.
    """
    refuses.update({"new_channel", "group_discard"})
    async with connected([]) as socket:
        assert 4401 == await socket.closed()


async def test_a_subscription_is_to_be_tried_again(refuses, demo, ticket, caplog):
    """
    Nothing is subscribed, whatever was joined; what is there goes on.
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


async def test_what_cannot_be_left_is_not_heard(refuses, demo, ticket):
    """
    The client is answered all the same, and hears no more of it.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        refuses.add("group_discard")
        answer = await socket.ask({"action": "unsubscribe", **subject(ticket)})
        assert ("unsubscribed", "requested") == (answer["type"], answer["reason"])
        message = {"type": "notification", "stream": f"ticket:{ticket.pk}"}
        await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), message)
        assert await socket.answers()


async def test_the_end_of_a_socket_is_one(refuses, demo, ticket):
    """
    Also if no group can be left: its consumer returns, and the rounds forget it.
    """
    communicator = WebsocketCommunicator(
        websocket, "/ws/notifications/", headers=await token_of(demo)
    )
    await communicator.connect(PATIENCE)
    await communicator.receive_json_from(PATIENCE)
    await communicator.send_json_to(subject(ticket))
    assert "subscribed" == (await communicator.receive_json_from(PATIENCE))["type"]
    refuses.add("group_discard")
    await communicator.send_input({"type": "websocket.disconnect", "code": 1000})
    await communicator.wait(PATIENCE)
    assert communicator.future.result() is None
    assert not rounds().sockets


async def test_a_server_that_stops_is_obeyed():
    """
    Who is cancelled in the middle of a send, by nobody of ours, ends.
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
    assert not rounds().sockets


async def test_a_socket_is_closed_once():
    """
    Whatever else would end it comes too late.
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
    await consumer.close(CloseCode.INTERNAL_ERROR)
    assert [4401] == [message["code"] for message in said if "code" in message]
