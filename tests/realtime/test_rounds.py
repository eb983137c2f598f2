"""Rounds: what got lost on its way is found without help, whatever is away."""

import pytest

from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime.consumers import NotificationConsumer
from apps.realtime.rounds import rounds
from tests.law import number_all
from tests.sockets import (
    collection,
    database_away,
    in_thread,
    lose,
    rename_table,
    signed_in,
    statements_of,
    subject,
    write,
)
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestPositionCheck:
    async def test_a_lost_last_message_is_found(self, settings, demo, ticket):
        """
        At the second look, with nothing published after it.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Lost")
            await lose(settings)
            await rounds().check_positions()
            assert await socket.answers()  # it might be on its way
            await rounds().check_positions()
            frame = await socket.receive()
            assert (2, "Lost") == (frame["offset"], frame["payload"]["title"])
            for _ in range(2):
                await rounds().check_positions()
            assert await socket.answers()

    async def test_a_last_row_that_failed_is_skipped(self, demo, ticket):
        """
        Nobody publishes it, and yet its offset is said.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Poison")
            await in_thread(_fail, ticket)
            for _ in range(2):
                await rounds().check_positions()
            frame = await socket.receive()
        assert ("skipped", 2) == (frame["type"], frame["offset"])

    async def test_it_numbers_when_no_worker_does(self, demo, ticket):
        """
        What nobody has numbered for a while is numbered by the check, and sent at once.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Unnumbered")
            await rounds().check_positions()
            assert await socket.answers()  # a worker may be about to
            await in_thread(
                lambda: NotificationOutbox.objects.filter(offset=None).update(
                    created_at="2026-11-22T00:00Z"
                )
            )
            await rounds().check_positions()
            assert 2 == (await socket.receive())["offset"]

    async def test_a_restored_database_is_noticed(self, demo, ticket, project):
        """
        Another epoch, or no such stream: the client is told, though nothing is published.
        """
        async with signed_in(demo) as socket:
            for about in (subject(ticket), collection(project)):
                await socket.ask(about)
            await in_thread(Stream.objects.all().delete)
            await rounds().check_positions()
            frames = [await socket.receive() for _ in range(3)]
        kinds = sorted((frame["type"], frame.get("reason")) for frame in frames)
        assert [("resynced", "epoch"), ("resynced", "epoch"), ("snapshot", None)] == [
            (kind, reason) for kind, reason in kinds
        ]

    async def test_as_many_queries_whatever_the_sockets(self, demo, ticket, project):
        """
        One for what isn't numbered and one for a thousand streams, however many sockets follow them.
        """
        async with signed_in(demo) as one, signed_in(demo) as other:
            few = await statements_of("positions", rounds().check_positions)
            for socket in (one, other):
                for about in (subject(ticket), collection(project)):
                    await socket.ask(about)
            assert few == await statements_of("positions", rounds().check_positions)

    async def test_without_sockets_there_are_no_rounds(self, demo):
        """
        The last one to leave ends them.
        """
        async with signed_in(demo):
            assert rounds()._tasks
        await until(lambda: not rounds().sockets)
        assert [] == rounds()._tasks


def _fail(ticket):
    number_all()
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=2)
    rows.update(failed_at="2026-11-22T00:00Z", error_type="E")


async def test_who_is_behind_is_looked_at_together(settings, demo, ticket, project):
    """
    One query for all that a socket follows; only what has moved on is read.
    """
    async with signed_in(demo) as socket:
        for about in (subject(ticket), collection(project), {"object_type": "me", "id": "me"}):
            await socket.ask(about)
        await write(ticket, "Lost")
        await lose(settings)
        (served,) = rounds().sockets
        reminded = []
        served.remind = lambda kind, stream="": reminded.append((kind, stream))
        rounds().note_behind(served)
        await rounds()._behind._task
        followed = {f"ticket:{ticket.pk}", f"project.tickets:{project.pk}"}
        assert sorted(("catch_up", stream) for stream in followed) == sorted(reminded)


async def test_who_is_behind_while_the_database_is_away_is_found_later(settings, demo, ticket):
    """
    By the position check.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        (served,) = rounds().sockets
        async with database_away():
            rounds().note_behind(served)
            await rounds()._behind._task
        for _ in range(2):
            await rounds().check_positions()
        assert 2 == (await socket.receive())["offset"]


async def test_a_look_that_fails_is_a_line_in_the_log(demo, ticket, caplog):
    """
    Whatever it is; who waits next is looked at.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = rounds().sockets
        await in_thread(rename_table, "outbox_stream", "gone")
        rounds().note_behind(served)
        await rounds()._behind._task
        await in_thread(rename_table, "gone", "outbox_stream")
        assert "A round failed" in caplog.text
        assert await socket.answers()


async def test_behind_before_anybody_came_in():
    """
    The channel is there before its user is known: there is nothing to look at yet.
    """
    socket = NotificationConsumer()
    socket.user = None
    await socket.behind({"type": "behind"})
    assert not rounds()._behind._sockets


async def test_it_goes_by_itself(settings, demo, ticket, caplog):
    """
    Within POSITION_CHECK_SECONDS, and once more after a time without the database.
    """
    settings.REALTIME = settings.REALTIME | {"POSITION_CHECK_SECONDS": 0.25}
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        for title in ("one", "two"):
            await write(ticket, title)
            await lose(settings)
            assert title == (await socket.receive())["payload"]["title"]
            caplog.clear()
            async with database_away():
                await until(lambda: "The database is away" in caplog.text)


async def test_a_round_that_fails_is_a_line_in_the_log(settings, demo, caplog):
    """
    Whatever it is; the next one comes.
    """
    settings.REALTIME = settings.REALTIME | {"POSITION_CHECK_SECONDS": 0.05}
    async with signed_in(demo):
        rounds().sockets.add(None)
        await until(lambda: "A round failed" in caplog.text)
        rounds().sockets.discard(None)
