"""Tests of housekeeping: it finds lost messages, overdue rows, and sockets that are behind."""

import pytest

from pillarbox.models import NotificationOutbox, Stream
from pillarbox.sockets.housekeeping.recurring import housekeeping
from tests.communicators import (
    check_twice,
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
from tests.rendering import number_all
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestPositionCheck:
    async def test_a_lost_last_message_is_found(self, settings, demo, ticket):
        """
        The second check finds it, although nothing is published after it.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Lost")
            await lose(settings)
            await housekeeping().positions.check()
            assert await socket.answers()  # it might be on its way
            await housekeeping().positions.check()
            frame = await socket.receive()
            assert (2, "Lost") == (frame["offset"], frame["payload"]["title"])
            await check_twice()
            assert await socket.answers()

    async def test_a_last_row_that_failed_is_skipped(self, demo, ticket):
        """
        No message says so, but the check finds its offset.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Poison")
            await in_thread(_fail, ticket)
            await check_twice()
            frame = await socket.receive()
        assert ("skipped", 2) == (frame["type"], frame["offset"])

    async def test_it_numbers_when_no_worker_does(self, demo, ticket):
        """
        Rows that no worker has rendered and numbered for a while are rendered, numbered and sent here.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await write(ticket, "Unnumbered")
            await housekeeping().positions.check()
            assert await socket.answers()  # a worker may be about to
            await in_thread(
                lambda: NotificationOutbox.objects.filter(offset=None).update(
                    created_at="2026-11-22T00:00Z"
                )
            )
            await housekeeping().positions.render_overdue()
            await housekeeping().positions.check()
            assert 2 == (await socket.receive())["offset"]

    async def test_a_restored_database_is_noticed(self, demo, ticket, project):
        """
        The client is resynced after a change of epoch, or if the stream is missing, although nothing is
        published.
        """
        async with signed_in(demo) as socket:
            for about in (subject(ticket), collection(project)):
                await socket.ask(about)
            await in_thread(Stream.objects.all().delete)
            await housekeeping().positions.check()
            frames = [await socket.receive() for _ in range(3)]
        kinds = sorted((frame["type"], frame.get("reason")) for frame in frames)
        assert [("resynced", "epoch"), ("resynced", "epoch"), ("snapshot", None)] == [
            (kind, reason) for kind, reason in kinds
        ]

    async def test_the_number_of_queries_is_independent_of_sockets(self, demo, ticket, project):
        """
        One query finds unnumbered rows, and one reads up to a thousand streams.
        """
        async with signed_in(demo) as one, signed_in(demo) as other:
            await one.ask(subject(ticket))
            few = await statements_of("positions", housekeeping().positions.check)
            for socket in (one, other):
                for about in (subject(ticket), collection(project)):
                    await socket.ask(about)
            assert few == await statements_of("positions", housekeeping().positions.check)

    async def test_without_sockets_there_is_no_housekeeping(self, demo):
        """
        The last socket to leave ends it.
        """
        async with signed_in(demo):
            assert housekeeping()._tasks
        await until(lambda: not housekeeping().sockets)
        assert [] == housekeeping()._tasks


def _fail(ticket):
    number_all()
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=2)
    rows.update(failed_at="2026-11-22T00:00Z", error_type="E")


async def test_positions_of_a_socket_that_is_behind_are_compared_together(
    settings, demo, ticket, project
):
    """
    One query compares all subscriptions of a socket. Only lagging ones read the history.
    """
    async with signed_in(demo) as socket:
        for about in (subject(ticket), collection(project), {"object_type": "me", "id": "me"}):
            await socket.ask(about)
        await write(ticket, "Lost")
        await lose(settings)
        (served,) = housekeeping().sockets
        scheduled = []
        served.turns.schedule = lambda step, *stream: scheduled.append((step, *stream))
        housekeeping().positions.note_behind(served)
        await housekeeping().positions._behind._task
        followed = {f"ticket:{ticket.pk}", f"project.tickets:{project.pk}"}
        catch_up = served.forwarder.catch_up
        assert {(catch_up, stream) for stream in followed} == set(scheduled)
        assert len(followed) == len(scheduled)


async def test_with_the_database_away_a_lagging_socket_is_found_later(settings, demo, ticket):
    """
    The next position checks find it.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        await write(ticket, "Lost")
        await lose(settings)
        (served,) = housekeeping().sockets
        async with database_away():
            housekeeping().positions.note_behind(served)
            await housekeeping().positions._behind._task
        await check_twice()
        assert 2 == (await socket.receive())["offset"]


async def test_a_failed_comparison_is_logged(demo, ticket, caplog):
    """
    Sockets continue after an unexpected error.
    """
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        (served,) = housekeeping().sockets
        await in_thread(rename_table, "pillarbox_stream", "gone")
        housekeeping().positions.note_behind(served)
        await housekeeping().positions._behind._task
        await in_thread(rename_table, "gone", "pillarbox_stream")
        assert "Housekeeping failed" in caplog.text
        assert await socket.answers()


async def test_a_socket_that_is_not_admitted_is_not_compared():
    """
    Its channel exists before its user is known. There are no subscriptions to compare yet.
    """
    housekeeping().positions.note_behind(object())
    assert not housekeeping().positions._behind._items


async def test_position_checks_recur(settings, demo, ticket, caplog):
    """
    Within POSITION_CHECK_SECONDS, and again after the database was away.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"POSITION_CHECK_SECONDS": 0.25}
    async with signed_in(demo) as socket:
        await socket.ask(subject(ticket))
        for title in ("one", "two"):
            await write(ticket, title)
            await lose(settings)
            assert title == (await socket.receive())["payload"]["title"]
            caplog.clear()
            async with database_away():
                await until(lambda: "The database is away" in caplog.text)


async def test_a_failed_step_is_logged(settings, demo, caplog):
    """
    The step runs again after an unexpected error.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"POSITION_CHECK_SECONDS": 0.05}
    async with signed_in(demo):
        housekeeping().sockets.add(None)
        await until(lambda: "Housekeeping failed" in caplog.text)
        housekeeping().sockets.discard(None)
