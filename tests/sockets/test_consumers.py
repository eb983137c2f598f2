"""Tests of the consumer: it sends each offset once and in order, or a resync; and the socket stays open."""

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from django.test import Client

from apps.tickets.models import Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.models import Stream
from pillarbox.sockets.housekeeping.recurring import housekeeping
from pillarbox.types import hashids
from pillarbox.types.groups import group_for
from tests.communicators import (
    collection,
    connected,
    database_away,
    drain,
    in_thread,
    rename,
    signed_in,
    subject,
    token_of,
    write,
)
from tests.layers import SlowToJoinLayer
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

#: A notification as it is on the channel layer, of a stream that nobody follows.
POSITION = {"stream": "ticket:0", "epoch": "", "offset": 1}
FACTS = {"ends": False, "is_move": False, "at": "", "transaction": None, "stamp": 0}
ENVELOPE = {**POSITION, **FACTS, "frame": "{}"}


class TestConnect:
    async def test_hello_comes_first(self, demo):
        """
        The first frame has the name of the authenticated user, and the limits.
        """
        client = Client()
        await in_thread(client.force_login, demo)
        cookie = f"{django_settings.SESSION_COOKIE_NAME}={client.cookies['sessionid'].value}"
        headers = [(b"cookie", cookie.encode()), (b"origin", b"http://localhost:8000")]
        async with connected(headers) as socket:
            hello = await socket.receive()
        assert ("hello", 1, "demo") == (hello["type"], hello["protocol"], hello["user"])
        assert 200 == hello["limits"]["subscriptions"]

    @pytest.mark.parametrize(
        ("code", "headers"),
        [
            (4401, []),
            (4401, [(b"authorization", b"Token nonsense")]),
            (4403, [(b"origin", b"http://evil.example"), (b"cookie", b"sessionid=x")]),
        ],
    )
    async def test_refusal_is_a_close_code_without_hello(self, code, headers):
        """
        The close code says why the handshake is refused. Later frames are not answered.
        """
        async with connected(headers) as socket:
            assert code == await socket.closed()
            await socket.send({"action": "ping"})
            assert await socket.sent_nothing_more()


class TestSubscribe:
    async def test_answers_with_the_position(self, demo, ticket):
        """
        The answer has the subscription's position; the next notification has the next offset.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "ref": 7})
            assert {"type": "subscribed", "ref": 7, **subject(ticket), "offset": 1} == {
                key: value for key, value in answer.items() if key != "epoch"
            }
            await rename(ticket, "Changed")
            frame = await socket.receive()
        assert ("UPDATE_TICKET", 2, answer["epoch"]) == (
            frame["type"],
            frame["offset"],
            frame["epoch"],
        )
        assert frame["payload"] == await in_thread(lambda: TicketSerializer(ticket).data)

    async def test_a_collection_has_new_objects(self, demo, project):
        """
        A subscriber of a project's tickets is sent a ticket that is created later.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask(collection(project))
            await in_thread(Ticket.objects.create, project=project, title="New")
            await drain()
            frame = await socket.receive()
        assert ("CREATE_TICKET", answer["offset"] + 1) == (frame["type"], frame["offset"])
        assert collection(project) == frame["subscription"]
        assert "ticket" == frame["object_type"]

    async def test_twice_changes_nothing(self, demo, ticket):
        """
        A second request is answered with the present position. Each notification is still sent once.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
            assert 2 == (await socket.ask(subject(ticket)))["offset"]
            await rename(ticket, "Again")
            assert 3 == (await socket.receive())["offset"]
            assert await socket.received_nothing(demo)

    async def test_missing_and_forbidden_are_the_same(self, demo, other, ticket):
        """
        The answers don't tell a missing object from a forbidden one.
        """
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        async with signed_in(other) as socket:
            answers = [await socket.ask(frame) for frame in (missing, subject(ticket))]
            assert answers[0] == answers[1]
            assert ("error", "not_found") == (answers[0]["type"], answers[0]["code"])
            assert group_for(f"ticket:{ticket.pk}") not in str(_groups())
            await rename(ticket, "Secret")
            assert await socket.received_nothing(other)
        assert not await in_thread(Stream.objects.filter(name="ticket:4711").exists)

    async def test_someone_elses_collection_is_not_found(self, other, project):
        """
        Users who may not see the owner may not see its collections.
        """
        async with signed_in(other) as socket:
            assert "not_found" == (await socket.ask(collection(project)))["code"]

    async def test_there_is_a_limit(self, settings, demo, ticket, project):
        """
        One subscription more than the limit is refused; the others continue.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SUBSCRIPTIONS": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert "limit" == (await socket.ask(collection(project)))["code"]
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_with_the_database_away_is_temporary(self, demo, ticket):
        """
        The command gets a temporary error, and the socket stays open.
        """
        async with signed_in(demo) as socket:
            async with database_away():
                answer = await socket.ask({**subject(ticket), "ref": 1})
            assert ("unavailable", True, 1) == (answer["code"], answer["temporary"], answer["ref"])
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_the_position_is_read_after_joining(self, settings, demo, ticket):
        """
        A notification that is published before the group is joined is included in the answer's position.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SlowToJoinLayer"}}

        async def meanwhile():
            await write(ticket, "Meanwhile")
            await drain()

        SlowToJoinLayer.meanwhile = meanwhile
        async with signed_in(demo) as socket:
            assert 2 == (await socket.ask(subject(ticket)))["offset"]


class TestUnsubscribe:
    async def test_ends_the_subscription(self, demo, ticket):
        """
        No notification follows the answer. A second unsubscribe is no error.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            for ref in (1, 2):
                answer = await socket.ask({"action": "unsubscribe", "ref": ref, **subject(ticket)})
                expected = {"type": "unsubscribed", "ref": ref, **subject(ticket)}
                assert {**expected, "reason": "requested"} == answer
            await rename(ticket, "Changed")
            assert await socket.received_nothing(demo)

    async def test_a_deleted_object_ends_the_subscription(self, demo, ticket, project):
        """
        The deletion is sent, then the end of the subscription.
        """
        about = subject(ticket)
        async with signed_in(demo) as socket:
            await socket.ask(about)
            await in_thread(ticket.delete)
            await drain()
            frames = [await socket.receive() for _ in range(2)]
            assert ["DELETE_TICKET", "unsubscribed"] == [frame["type"] for frame in frames]
            assert {"id": about["id"]} == frames[0]["payload"]
            assert ("deleted", False) == (frames[1]["reason"], frames[1]["resubscribe"])
            assert "not_found" == (await socket.ask(about))["code"]


class TestCommands:
    @pytest.mark.parametrize(
        ("code", "frame"),
        [("malformed", b"{}"), ("malformed", "{"), ("malformed", [1]), ("invalid", {"id": "x"})],
    )
    async def test_a_refused_command_leaves_subscriptions_alone(self, demo, ticket, code, frame):
        """
        The command is answered with an error, and notifications are still sent.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert code == (await socket.ask(frame))["code"]
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]

    async def test_pong_has_no_answer(self, demo):
        """
        A pong is itself an answer.
        """
        async with signed_in(demo) as socket:
            await socket.send({"action": "pong"})
            assert await socket.answers()


class TestLeaving:
    async def test_removes_its_channel(self, demo, ticket):
        """
        When a socket has ended, no group has its channel, even if a message arrived at that moment.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert _groups()
            (served,) = housekeeping().sockets
            queue = get_channel_layer()._get_layer().channels[served.channel.name]
            await socket.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
            queue.put({"type": "behind"}, 0)
            await socket.communicator.wait(PATIENCE)
        assert {} == get_channel_layer()._get_layer().channels
        assert not _groups()


class TestIsolation:
    @pytest.mark.parametrize(
        "forged",
        [
            {"type": "from.the.future"},
            {"type": "notification"},
            {"type": "notification", **ENVELOPE, "offset": "2"},
            {"type": "notification", **ENVELOPE, "stream": ["ticket:1"]},
            {"type": "websocket.receive", "text": '{"object_type": "me", "id": "me"}'},
            {"type": "websocket.disconnect", "code": 1000},
            {"type": "send", "text": "forged"},
            {"type": "close", "code": 1000},
            {"type": ["behind"]},
            {},
            [],
            None,
        ],
    )
    async def test_unknown_messages_are_ignored(self, demo, ticket, caplog, forged):
        """
        A message of another version, or of another program that writes to Redis, changes nothing.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await get_channel_layer().group_send(group_for(f"ticket:{ticket.pk}"), forged)
            assert await socket.received_nothing(demo)
            await rename(ticket, "Changed")
            assert "Changed" == (await socket.receive())["payload"]["title"]
        assert "A message of the channel layer is unknown" in caplog.text

    async def test_an_unexpected_error_closes_the_socket(self, demo, ticket, caplog):
        """
        The close code 4500 tells the client to reconnect.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask(subject(ticket))
            stream = f"ticket:{ticket.pk}"
            bad = {
                **ENVELOPE,
                "stream": stream,
                "epoch": answer["epoch"],
                "at": "never",
                "is_new": True,
            }
            bad["offset"] = answer["offset"] + 1
            await get_channel_layer().group_send(group_for(stream), {"type": "notification", **bad})
            assert "{}" == await socket.communicator.receive_from(PATIENCE)
            assert 4500 == await socket.closed()
        assert "The consumer failed" in caplog.text

    async def test_a_broken_channel_layer_closes_the_socket(self, settings, demo, caplog):
        """
        The client reconnects, and its new socket receives again.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.BrokenLayer"}}
        headers = await token_of(demo)
        async with connected(headers) as socket:
            codes = [await socket.communicator.receive_output(PATIENCE) for _ in range(2)]
            assert 4500 in [message.get("code") for message in codes]
        assert "The channel layer broke" in caplog.text

    async def test_with_the_database_away_the_handshake_is_refused(self, demo):
        """
        The close code tells the client to reconnect.
        """
        headers = await token_of(demo)
        async with database_away(), connected(headers) as socket:
            assert 4500 == await socket.closed()


def _groups():
    """Return the groups of this process's sockets."""
    return get_channel_layer()._get_layer().groups
