"""Tests of rows in the history whose content can't be shown any more."""

import pytest

from pillarbox.models import NotificationOutbox
from tests.communicators import (
    collection,
    in_thread,
    rename,
    signed_in,
)
from tests.sockets.resuming import missed, where

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestUnshowable:
    """Tests of rows that were published or failed, and can't be rendered any more."""

    async def test_rows_of_an_unknown_type_are_skipped(self, demo, project, ticket):
        """
        They are no hole, and later rows don't wait for them.
        """
        since = await where(demo, collection(project))
        await missed(ticket, 1)
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}")
        await in_thread(lambda: rows.update(object_type="gone"))
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            frame = await socket.receive()
            assert ("skipped", "gone", "") == (frame["type"], frame["object_type"], frame["id"])
            await rename(ticket, "After")
            assert "After" == (await socket.receive())["payload"]["title"]

    async def test_a_row_with_an_impossible_key_is_skipped(self, demo, project, ticket):
        """
        A row that failed because of its key is skipped like any other.
        """
        since = await where(demo, collection(project))
        await missed(ticket, 1)
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}", offset=2)
        values = {"object_id": "-5", "published_at": None, "failed_at": "2026-11-22T00:00Z"}
        await in_thread(lambda: rows.update(**values, error_type="E"))
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "skipped" == (await socket.receive())["type"]
