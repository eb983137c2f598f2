"""Tests of catch-ups and snapshots that are interrupted."""

import pytest

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Ticket
from pillarbox.sockets.access.checks import Decision
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import (
    collection,
    database_away,
    in_thread,
    lose,
    rename,
    signed_in,
    subject,
    write,
)
from tests.sockets.resuming import database_away_once_asked, missed, spoil, where
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestInterrupted:
    async def test_a_catch_up_that_cannot_begin_is_refused(self, demo, ticket):
        """
        If the history can't be read, there is no subscription, and the error is temporary.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            async with database_away_once_asked(TicketType):
                answer = await socket.ask({**subject(ticket), "since": since})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            assert 2 == (await socket.receive())["offset"]

    async def test_a_broken_history_is_an_internal_error(self, demo, ticket, caplog):
        """
        Unlike an outage, the error is logged with its traceback and isn't temporary.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            await in_thread(spoil, "payload", "spoilt")
            answer = await socket.ask({**subject(ticket), "since": since})
            await in_thread(spoil, "spoilt", "payload")
            assert ("internal", False) == (answer["code"], answer["temporary"])
            assert await socket.received_nothing(demo)
        (record,) = [it for it in caplog.records if it.message == "A subscription failed"]
        assert [f"ticket:{ticket.pk}"] == record.pillarbox_streams
        assert record.exc_info

    async def test_unsubscribing_during_a_catch_up_ends_it(self, settings, demo, ticket):
        """
        No notification follows the answer.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"CATCH_UP_ROWS": 1}
        since = await where(demo, subject(ticket))
        await missed(ticket, 50)
        async with signed_in(demo) as socket:
            await socket.send({**subject(ticket), "since": since})
            await socket.send({"action": "unsubscribe", **subject(ticket)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                frame = await socket.receive()
            assert "requested" == frame["reason"]
            assert await socket.received_nothing(demo)

    async def test_unsubscribing_during_a_snapshot_ends_it(self, settings, demo, project, ticket):
        """
        No page follows the answer.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"SNAPSHOT_ROWS": 1}
        for title in "abcdefgh":
            await in_thread(Ticket.objects.create, project=project, title=title)
        async with signed_in(demo) as socket:
            await socket.send({**collection(project), "snapshot": True})
            await socket.send({"action": "unsubscribe", **collection(project)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                assert not frame.get("done")
                frame = await socket.receive()
            assert await socket.received_nothing(demo)

    async def test_a_catch_up_that_breaks_off_goes_on_later(self, demo, ticket):
        """
        If the database is away during a catch-up, a later one continues at the same position.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = housekeeping().sockets
            async with database_away():
                served.turns.schedule(served.forwarder.catch_up, f"ticket:{ticket.pk}")
                assert await socket.answers()
            await rename(ticket, "After")
            assert 2 == (await socket.receive())["offset"]

    async def test_a_decision_is_applied_before_the_rest_of_a_page(self, settings, demo, ticket):
        """
        However slowly the client reads, a lost subscription ends before the rest of its page is sent.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = housekeeping().sockets
            for title in "abc":
                await write(ticket, title)
            await lose(settings)
            (kept,) = served.subscriptions.values()
            socket.stop_reading()
            served.turns.schedule(served.forwarder.catch_up, f"ticket:{ticket.pk}")
            await until(lambda: served.connection.sending_since is not None)
            served.access.decision = Decision(lost=(kept,))
            served.turns.schedule(served.access.apply_decision)
            frames = [await socket.receive() for _ in range(3)]
            assert [2, 3] == [frame["offset"] for frame in frames[:2]]
            assert "revoked" == frames[2]["reason"]
            assert await socket.answers()

    async def test_an_interrupted_snapshot_closes_the_socket(self, demo, project, ticket):
        """
        The client would take half a collection for a whole one, so it must reconnect.
        """
        async with signed_in(demo) as socket, database_away_once_asked(ProjectType):
            own = {"object_type": "me", "id": "me"}
            entries = [{**collection(project), "snapshot": True}, own]
            await socket.send({"subscriptions": entries})
            assert ["subscribed"] * 2 == [(await socket.receive())["type"] for _ in range(2)]
            assert 4500 == await socket.closed()
            assert await socket.sent_nothing_more()
