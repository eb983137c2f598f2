"""Catch-ups and snapshots that something comes in between."""

import pytest

from apps.realtime.rights import Ruling
from apps.realtime.rounds import rounds
from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Ticket
from tests.realtime.resuming import database_away_once_asked, missed, spoil, where
from tests.sockets import (
    collection,
    database_away,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestInterrupted:
    async def test_a_catch_up_that_cannot_begin_is_refused(self, demo, ticket):
        """
        If the history can't be read, nothing is subscribed, and the client tries again.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            async with database_away_once_asked(TicketType):
                answer = await socket.ask({**subject(ticket), "since": since})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            assert 2 == (await socket.receive())["offset"]

    async def test_a_history_that_is_broken_is_said_to_be(self, demo, ticket, caplog):
        """
        That is no outage, which would pass: it is logged, and nobody is asked to try again.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            await in_thread(spoil, "payload", "spoilt")
            answer = await socket.ask({**subject(ticket), "since": since})
            await in_thread(spoil, "spoilt", "payload")
            assert ("internal", False) == (answer["code"], answer["temporary"])
            assert await socket.silent(demo)
        (record,) = [it for it in caplog.records if it.message == "A subscription failed"]
        assert [f"ticket:{ticket.pk}"] == record.streams
        assert record.exc_info

    async def test_unsubscribing_during_a_catch_up_ends_it(self, settings, demo, ticket):
        """
        After the answer nothing of it comes.
        """
        settings.REALTIME = settings.REALTIME | {"CATCH_UP_ROWS": 1}
        since = await where(demo, subject(ticket))
        await missed(ticket, 50)
        async with signed_in(demo) as socket:
            await socket.send({**subject(ticket), "since": since})
            await socket.send({"action": "unsubscribe", **subject(ticket)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                frame = await socket.receive()
            assert "requested" == frame["reason"]
            assert await socket.silent(demo)

    async def test_unsubscribing_during_a_snapshot_ends_it(self, settings, demo, project, ticket):
        """
        After the answer no page comes.
        """
        settings.REALTIME = settings.REALTIME | {"SNAPSHOT_ROWS": 1}
        for title in "abcdefgh":
            await in_thread(Ticket.objects.create, project=project, title=title)
        async with signed_in(demo) as socket:
            await socket.send({**collection(project), "snapshot": True})
            await socket.send({"action": "unsubscribe", **collection(project)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                assert not frame.get("done")
                frame = await socket.receive()
            assert await socket.silent(demo)

    async def test_a_catch_up_that_breaks_off_goes_on_later(self, demo, ticket):
        """
        With the database away in the middle, the next occasion finds where it was.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = rounds().sockets
            async with database_away():
                served.remind("catch_up", f"ticket:{ticket.pk}")
                assert await socket.answers()
            await rename(ticket, "After")
            assert 2 == (await socket.receive())["offset"]

    async def test_a_ruling_comes_before_the_rest_of_a_page(self, settings, demo, ticket):
        """
        However long a page takes a slow client: first what it may keep, then what is left.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = rounds().sockets
            for title in "abc":
                await write(ticket, title)
            await lose(settings)
            (kept,) = served.subscriptions.values()
            served.ruling = Ruling(lost=(kept,))
            served.remind("catch_up", f"ticket:{ticket.pk}")
            served.remind("obey")
            frames = [await socket.receive() for _ in range(2)]
            assert [2, "revoked"] == [frames[0]["offset"], frames[1]["reason"]]
            assert await socket.answers()

    async def test_a_snapshot_that_breaks_off_ends_the_socket(self, demo, project, ticket):
        """
        Half a collection would look like a whole one: the client is to come back.
        """
        async with signed_in(demo) as socket, database_away_once_asked(ProjectType):
            own = {"object_type": "me", "id": "me"}
            entries = [{**collection(project), "snapshot": True}, own]
            await socket.send({"subscriptions": entries})
            assert ["subscribed"] * 2 == [(await socket.receive())["type"] for _ in range(2)]
            assert 4500 == await socket.closed()
            assert await socket.says_no_more()
