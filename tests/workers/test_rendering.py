"""A drain renders what triggers captured, then numbers and publishes it."""

import json

import pytest
from django.db import DEFAULT_DB_ALIAS

from apps.outbox.models import NotificationOutbox
from apps.outbox.triggers.installation import install, remove
from workers.breaker import Breaker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _triggers(empty_outbox):
    install(using=DEFAULT_DB_ALIAS)
    yield
    remove(using=DEFAULT_DB_ALIAS)


def write(ticket, execute, *titles):
    """Change a ticket by SQL, which no hook sees."""
    for title in titles:
        execute("UPDATE tickets_ticket SET title = %s WHERE id = %s", title, ticket.pk)


def frames(sent, ticket):
    """Return the frames that were published on the ticket's own stream."""
    own = [message for _, message in sent if message["stream"] == f"ticket:{ticket.pk}"]
    return [json.loads(message["frame"]) for message in own]


def test_a_change_by_sql_is_published(ticket, execute, relay, sent):
    """
    Each change is shown as it was left, on both streams, in order; nothing is left to do.
    """
    write(ticket, execute, "a", "b")
    drained = relay.drain()
    assert (4, 4) == (drained.numbered, drained.published)
    titles = [(frame["offset"], frame["payload"]["title"]) for frame in frames(sent, ticket)]
    assert [(1, "a"), (2, "b")] == titles
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}


def test_an_obsolete_row_is_published_as_skipped(ticket, execute, relay, sent):
    """
    Subscribers see that an offset is skipped, and then the deletion.
    """
    write(ticket, execute, "a")
    execute("DELETE FROM tickets_ticket")
    relay.drain()
    assert [(1, "skipped"), (2, "DELETE_TICKET")] == [
        (frame["offset"], frame["type"]) for frame in frames(sent, ticket)
    ]
    assert ["obsolete", "published"] == [
        row.state
        for row in NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}").order_by("id")
    ]


def test_without_a_channel_layer_rows_are_rendered_and_numbered(ticket, execute, relay):
    """
    Sockets can then read them from the database.
    """
    relay.breaker = Breaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
    relay.breaker.fail(ConnectionError())
    write(ticket, execute, "a")
    assert 2 == relay.drain().numbered
    assert {"a"} == {row.payload["title"] for row in NotificationOutbox.objects.all()}


def test_a_drain_whose_time_is_over_renders_nothing(ticket, execute, relay):
    """
    What it leaves is rendered by the next one.
    """
    write(ticket, execute, "a")
    relay.drain(seconds=0)
    assert not NotificationOutbox.objects.filter(payload__isnull=False).exists()
    assert 2 == relay.drain().published
