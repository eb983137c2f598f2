"""The consumer: each offset once, in order, or a word that it isn't so; and a socket that stays."""

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.test import Client

from apps.outbox.models import Stream
from apps.realtime import hashids
from apps.realtime.groups import group_for
from apps.realtime.routing import websocket
from apps.tickets.models import Ticket
from apps.tickets.serializers import TicketSerializer
from tests.layers import SlowToJoinLayer
from tests.sockets import (
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
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestConnect:
    async def test_hello_comes_first(self, demo):
        """
        A user who is signed in is greeted by name, with the limits in force.
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
        Who is refused learns why by the code, and is listened to no longer.
        """
        async with connected(headers) as socket:
            assert code == await socket.closed()
            await socket.send({"action": "ping"})
            assert await socket.says_no_more()


class TestSubscribe:
    async def test_answers_with_the_position(self, demo, ticket):
        """
        The answer says where the subscription stands; the next notification is one further.
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

    async def test_to_a_collection_sees_what_is_new_in_it(self, demo, project):
        """
        A subscriber of a project's tickets sees one that is created later.
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
        Subscribing again answers with the present position; each notification still comes once.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
            assert 2 == (await socket.ask(subject(ticket)))["offset"]
            await rename(ticket, "Again")
            assert 3 == (await socket.receive())["offset"]
            assert await socket.silent(demo)

    async def test_missing_and_forbidden_are_the_same(self, demo, other, ticket):
        """
        Nobody learns of what isn't theirs: not by the answer, nor by the number of queries.
        """
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        async with signed_in(other) as socket:
            answers = [await socket.ask(frame) for frame in (missing, subject(ticket))]
            assert answers[0] == answers[1]
            assert ("error", "not_found") == (answers[0]["type"], answers[0]["code"])
            assert group_for(f"ticket:{ticket.pk}") not in str(_groups())
            await rename(ticket, "Secret")
            assert await socket.silent(other)
        assert not await in_thread(Stream.objects.filter(name="ticket:4711").exists)

    async def test_someone_elses_collection_is_not_found(self, other, project):
        """
        A collection is seen by who sees its owner.
        """
        async with signed_in(other) as socket:
            assert "not_found" == (await socket.ask(collection(project)))["code"]

    async def test_there_is_a_limit(self, settings, demo, ticket, project):
        """
        One subscription more than the limit is refused; the others go on.
        """
        settings.REALTIME = settings.REALTIME | {"SUBSCRIPTIONS": 1}
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert "limit" == (await socket.ask(collection(project)))["code"]
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_with_the_database_away_is_temporary(self, demo, ticket):
        """
        A command that the database can't answer now is refused as such; the socket stays.
        """
        async with signed_in(demo) as socket:
            async with database_away():
                answer = await socket.ask({**subject(ticket), "ref": 1})
            assert ("unavailable", True, 1) == (answer["code"], answer["temporary"], answer["ref"])
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_the_position_is_read_after_joining(self, settings, demo, ticket):
        """
        What is published before the group is joined is behind the position of the answer.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SlowToJoinLayer"}}

        async def meanwhile():
            await write(ticket, "Meanwhile")
            await drain()

        SlowToJoinLayer.meanwhile = meanwhile
        async with signed_in(demo) as socket:
            assert 2 == (await socket.ask(subject(ticket)))["offset"]


class TestUnsubscribe:
    async def test_ends_it(self, demo, ticket):
        """
        After the answer nothing of the stream comes; doing it twice is no error.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            for ref in (1, 2):
                answer = await socket.ask({"action": "unsubscribe", "ref": ref, **subject(ticket)})
                expected = {"type": "unsubscribed", "ref": ref, **subject(ticket)}
                assert {**expected, "reason": "requested"} == answer
            await rename(ticket, "Changed")
            assert await socket.silent(demo)

    async def test_a_deleted_object_ends_it(self, demo, ticket, project):
        """
        The last notification is the deletion; then the server says that it is over.
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
    async def test_a_mistake_leaves_the_socket_and_its_subscriptions(
        self, demo, ticket, code, frame
    ):
        """
        A refused command is answered; what was subscribed still comes.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert code == (await socket.ask(frame))["code"]
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]

    async def test_pong_has_no_answer(self, demo):
        """
        An answer is not answered.
        """
        async with signed_in(demo) as socket:
            await socket.send({"action": "pong"})
            assert await socket.answers()


class TestLeaving:
    async def test_leaves_no_ghost(self, demo, ticket):
        """
        When a socket is gone its channel is in no group, also if a message came at that moment.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            assert _groups()
            (channel,) = get_channel_layer()._get_layer().channels
            queue = get_channel_layer()._get_layer().channels[channel]
            await socket.communicator.send_input({"type": "websocket.disconnect", "code": 1000})
            queue.put({"type": "behind"}, 0)
            await socket.communicator.wait(PATIENCE)
        assert {} == get_channel_layer()._get_layer().channels
        assert not _groups()


class TestIsolation:
    async def test_an_unknown_message_is_ignored(self, demo, ticket, caplog):
        """
        A message of a type that this version doesn't know harms nobody.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "from.the.future"}
            )
            assert await socket.silent(demo)
        assert "Unknown message" in caplog.text

    async def test_a_bug_closes_with_a_code_and_no_traceback(self, demo, ticket, caplog):
        """
        What nobody thought of ends the socket with 4500, after which the client comes back.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await get_channel_layer().group_send(
                group_for(f"ticket:{ticket.pk}"), {"type": "notification"}
            )
            assert 4500 == await socket.closed()
        assert "The consumer failed" in caplog.text

    async def test_a_deaf_socket_is_closed(self, settings, demo, caplog):
        """
        If the channel layer fails it, the client comes back to one that hears.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.BrokenLayer"}}
        headers = await token_of(demo)
        async with connected(headers) as socket:
            codes = [await socket.communicator.receive_output(PATIENCE) for _ in range(2)]
            assert 4500 in [message.get("code") for message in codes]
        assert "The channel layer broke" in caplog.text

    async def test_with_the_database_away_nobody_comes_in(self, demo):
        """
        The client is told to come back.
        """
        headers = await token_of(demo)
        async with database_away(), connected(headers) as socket:
            assert 4500 == await socket.closed()


async def test_a_wrong_address_is_refused():
    """
    Elsewhere there is no socket.
    """
    accepted, _ = await WebsocketCommunicator(websocket, "/ws/elsewhere/").connect(PATIENCE)
    assert not accepted


def _groups():
    """Return the groups that sockets of this process are in."""
    return get_channel_layer()._get_layer().groups
