"""Tests of drains that render captured rows, number them and publish them."""

import json
from typing import ClassVar

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from apps.tickets.live import TicketType
from pillarbox.models import NotificationOutbox, Rendering
from pillarbox.relay.breaker import LoggedBreaker
from pillarbox.relay.drained import Drained
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.renderer import render_batch, render_batches
from tests.layers import RecordingLayer
from tests.metrics import Metric
from tests.registration import registered
from tests.rendering import number_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


def write(ticket, execute, *titles):
    """Change a ticket by SQL."""
    for title in titles:
        execute("UPDATE tickets_ticket SET title = %s WHERE id = %s", title, ticket.pk)


def frames(sent, ticket):
    """Return the frames that were published on the ticket's stream."""
    own = [message for _, message in sent if message["stream"] == f"ticket:{ticket.pk}"]
    return [json.loads(message["frame"]) for message in own]


def test_a_tried_row_stays_behind_earlier_ones(ticket, execute, relay, sent):
    """
    A row whose renderer died keeps its place behind an earlier, unpublished change.
    """
    write(ticket, execute, "a")
    number_all()
    write(ticket, execute, "b")
    NotificationOutbox.objects.filter(payload__isnull=True).update(claims=1)
    number_all()
    relay.drain()
    titles = [(frame["offset"], frame["payload"]["title"]) for frame in frames(sent, ticket)]
    assert [(1, "a"), (2, "b")] == titles


def test_a_change_by_sql_is_published(ticket, execute, relay, sent):
    """
    Each change is published in its own version, on both streams, in order.
    """
    write(ticket, execute, "a", "b")
    drained = relay.drain()
    assert (4, 4) == (drained.numbered, drained.published)
    titles = [(frame["offset"], frame["payload"]["title"]) for frame in frames(sent, ticket)]
    assert [(1, "a"), (2, "b")] == titles
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}


def test_rows_that_can_not_be_rendered(settings, ticket, execute, relay, sent, caplog):
    """
    Each failed attempt is counted, by the drain and as a metric, and logged.
    """

    class Broken(TicketType):
        def payload(self, instance):
            raise ValueError(instance.title)

    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
    retried, failed = Metric("notifier_rows_retried_total"), Metric("notifier_rows_failed_total")
    with registered(Broken):
        write(ticket, execute, "a")
        NotificationOutbox.objects.exclude(stream=f"ticket:{ticket.pk}").delete()
        drained = Drained()
        while NotificationOutbox.objects.filter(offset=None).exists():
            drained.add(relay.drain())
    assert (1, 1) == (drained.retried, drained.failed) == (retried.grown, failed.grown)
    lines = [
        (r.message, r.pillarbox_rows, r.pillarbox_action)
        for r in caplog.records
        if hasattr(r, "pillarbox_outbox_id")
    ]
    assert [("Rendering failed", 1, "render_failed"), ("Row failed", 1, "row_failed")] == lines


def test_an_obsolete_row_is_published_as_skipped(ticket, execute, relay, sent):
    """
    An obsolete row is published as skipped, before the deletion.
    """
    published, obsolete = (
        Metric(f"notifier_rows_{outcome}_total") for outcome in ("published", "obsolete")
    )
    write(ticket, execute, "a")
    execute("DELETE FROM tickets_ticket")
    relay.drain()
    assert (2, 2) == (published.grown, obsolete.grown)
    assert [(1, "skipped"), (2, "DELETE_TICKET")] == [
        (frame["offset"], frame["type"]) for frame in frames(sent, ticket)
    ]
    assert ["obsolete", "published"] == [
        row.state
        for row in NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}").order_by("id")
    ]


def test_without_a_channel_layer_rows_are_rendered_and_numbered(settings, ticket, execute, relay):
    """
    Rows are rendered and numbered during an outage, so that sockets can read them.
    """
    relay.breaker = LoggedBreaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
    relay.breaker.fail(ConnectionError())
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 1}
    write(ticket, execute, "b", "a")
    assert 4 == relay.drain().numbered
    assert {"a", "b"} == {row.payload["title"] for row in NotificationOutbox.objects.all()}


class NotingEncoder(DjangoJSONEncoder):
    """An encoder that records how many messages were published before each payload."""

    published: ClassVar[list[int]] = []

    def encode(self, value):
        self.published.append(len(RecordingLayer.sent))
        return super().encode(value)


def test_rendered_rows_are_published_before_more_are_rendered(
    settings, ticket, execute, relay, sent
):
    """
    A rendered batch is published before the next is rendered, so short drains publish, too.
    """
    encoder = {"JSON_ENCODER": f"{__name__}.NotingEncoder", "BATCH_ROWS": 1}
    settings.PILLARBOX = settings.PILLARBOX | encoder
    NotingEncoder.published.clear()
    write(ticket, execute, "a", "b")
    assert 4 == relay.drain().published
    assert [0, 1, 2, 3] == NotingEncoder.published


def test_a_full_batch_waits_for_the_next_shard(settings, ticket, execute):
    """
    Batches of several shards have at most BATCH_ROWS rows together. The shard that has no place left is not
    taken, so it is not reported as settled either.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 1}
    for shard in (3, 5):
        render_batch(shard, using=DEFAULT_DB_ALIAS)  # creates the shard's record
    write(ticket, execute, "a")
    of_the_ticket = Q(stream=f"ticket:{ticket.pk}")
    NotificationOutbox.objects.filter(of_the_ticket).update(shard=3)
    NotificationOutbox.objects.exclude(of_the_ticket).update(shard=5)
    rendered = render_batches([3, 5], using=DEFAULT_DB_ALIAS, ends_process=False, then=str)
    assert [(3, "3")] == [(shard, settled.outcome) for shard, settled in rendered]
    assert [5] == list(shards_to_render(using=DEFAULT_DB_ALIAS))


def test_a_change_is_rendered_once_for_its_streams(settings, ticket, execute, relay):
    """
    A change is rendered once for its two streams, though they are in different shards.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"JSON_ENCODER": f"{__name__}.NotingEncoder"}
    write(ticket, execute, "a")
    relay.drain()
    NotingEncoder.published.clear()
    write(ticket, execute, "b")
    assert 2 == relay.drain().published
    assert 1 == len(NotingEncoder.published)


def test_a_drain_of_one_change_takes_few_statements(ticket, execute, relay):
    """
    A drain of one change takes few statements, which decide the latency of a save.
    """
    write(ticket, execute, "a")
    relay.drain()
    write(ticket, execute, "b")
    with CaptureQueriesContext(connection) as queries:
        assert 2 == relay.drain().published
    assert len(queries) <= 41


def test_an_outage_leaves_no_claimed_rows(settings, ticket, execute, relay, sent):
    """
    In an outage, rows that were rendered together are numbered, and no death is counted.
    """
    write(ticket, execute, "warm")
    relay.drain()
    NotificationOutbox.objects.all().delete()
    back = settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    write(ticket, execute, "a")
    relay.drain()
    assert not Rendering.objects.exclude(rows=[]).exists()
    assert {(2, 0)} == set(NotificationOutbox.objects.values_list("offset", "claims"))
    settings.CHANNEL_LAYERS = back
    relay.breaker = LoggedBreaker("The channel layer")
    assert 2 == relay.drain().published


def test_a_drain_whose_time_is_over_renders_nothing(ticket, execute, relay):
    """
    A drain whose time is over renders nothing and says that it was cut short.
    """
    write(ticket, execute, "a")
    assert relay.drain(seconds=0).is_cut_short
    assert not NotificationOutbox.objects.filter(payload__isnull=False).exists()
    assert 2 == relay.drain().published
