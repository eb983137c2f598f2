"""Tests of the metrics of the relay, the breaker and closed sockets."""

import logging

import pytest

from pillarbox.exceptions import ClaimLostError
from pillarbox.metrics.relay import note_closed
from pillarbox.models import NotificationOutbox
from pillarbox.relay.breaker import LoggedBreaker
from tests.announcing import announce
from tests.metrics import Metric

ROWS = [
    f"notifier_rows_{outcome}_total" for outcome in ("captured", "published", "retried", "failed")
]


@pytest.mark.django_db(transaction=True)
class TestRelay:
    def test_counts_outcomes_of_rows(self, settings, relay, sent):
        """
        Three published rows, and one that is retried and fails, are counted accordingly.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        rows, delays = (
            [Metric(name) for name in ROWS],
            Metric("notifier_publish_delay_seconds_count"),
        )
        drains = Metric("notifier_drain_seconds_count")
        announce(count=3)
        row = NotificationOutbox.objects.order_by("id").first()
        poison = {"stream": "gadget:1", "shard": 5, "object_type": "gadget", "object_id": "1"}
        NotificationOutbox.objects.create(event="X", payload={}, **poison)
        while NotificationOutbox.objects.pending().exists():
            relay.try_to_drain()
        assert row is not None
        assert [4, 3, 1, 1] == [metric.grown for metric in rows]
        assert 3 == delays.grown
        assert 1 <= drains.grown

    def test_rows_are_logged_at_debug_level(self, relay, sent, caplog):
        """
        Each published row is logged at DEBUG only.
        """
        with caplog.at_level(logging.INFO, "pillarbox"):
            announce()
            relay.drain()
        assert [] == caplog.records
        with caplog.at_level(logging.DEBUG, "pillarbox.relay"):
            announce()
            relay.drain()
        row = NotificationOutbox.objects.latest("id")
        (line,) = caplog.records
        assert (str(row.event_id), 2, row.pk) == (
            line.pillarbox_event_id,
            line.pillarbox_offset,
            line.pillarbox_outbox_id,
        )

    def test_a_lost_claim_is_not_counted(self, settings, relay, sent):
        """
        A lost claim publishes nothing and counts nothing.
        """
        published = Metric("notifier_rows_published_total")
        announce()
        row = NotificationOutbox.objects.get()
        with pytest.raises(ClaimLostError):
            relay.publisher.publish(row.shard, [row.pk])
        assert 0 == published.grown


def test_a_breaker_shows_whether_it_is_open():
    """
    The gauge shows whether the breaker of a dependency is open.
    """
    gauge = Metric("notifier_breaker_open", of="moon")
    breaker = LoggedBreaker("The moon")
    for step, expected in (
        (breaker.succeed, 0),
        (lambda: breaker.fail(OSError()), 1),
        (breaker.succeed, 0),
    ):
        step()
        assert expected == gauge.value


@pytest.mark.parametrize(
    ("series", "code"), [("4503", 4503), ("1001", 1001), ("1006", None), ("other", 4999)]
)
def test_sockets_count_by_their_code(series, code):
    """
    Closed sockets count by their code; unknown codes count as "other".
    """
    closed = Metric("notifier_sockets_closed_total", code=series)
    note_closed(code)
    assert 1 == closed.grown
