"""History of which nothing can be said any more, or not all."""

import pytest

from apps.outbox.models import NotificationOutbox
from tests.realtime.resuming import missed, where
from tests.sockets import (
    collection,
    in_thread,
    rename,
    signed_in,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestUnshowable:
    """Rows that were published, or failed, and of which nothing can be said any more."""

    async def test_a_type_that_is_gone_is_skipped(self, demo, project, ticket):
        """
        What it announced is no hole, and nobody waits for it.
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

    async def test_a_key_without_a_public_id_ends_nobodys_socket(self, demo, project, ticket):
        """
        A row that failed for its key is skipped like any other.
        """
        since = await where(demo, collection(project))
        await missed(ticket, 1)
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}", offset=2)
        values = {"object_id": "-5", "published_at": None, "failed_at": "2026-11-22T00:00Z"}
        await in_thread(lambda: rows.update(**values, error_type="E"))
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "skipped" == (await socket.receive())["type"]
