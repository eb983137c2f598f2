"""What the processes count."""

import logging

import pytest

from apps.outbox.models import NotificationOutbox
from tests.metrics import Metric
from tests.workers.announcing import announce
from workers.breaker import Breaker
from workers.metrics import note_closed
from workers.relay import Drained

ROWS = [
    f"notifier_rows_{outcome}_total" for outcome in ("captured", "published", "retried", "failed")
]


@pytest.mark.django_db(transaction=True)
class TestRelay:
    def test_counts_what_became_of_rows(self, settings, relay, sent):
        """
        Three published, one tried twice and failed: each as often as it happened.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        rows, delays = (
            [Metric(name) for name in ROWS],
            Metric("notifier_publish_delay_seconds_count"),
        )
        drains = Metric("notifier_drain_seconds_count")
        announce(count=3)
        row = NotificationOutbox.objects.order_by("id").first()
        poison = {"stream": "ghost:1", "shard": 5, "object_type": "ghost", "object_id": "1"}
        NotificationOutbox.objects.create(event="X", payload={}, **poison)
        while NotificationOutbox.objects.pending().exists():
            relay.try_to_drain()
        assert row is not None
        assert [4, 3, 1, 1] == [metric.grown for metric in rows]
        assert 3 == delays.grown
        assert 1 <= drains.grown

    def test_who_wants_to_know_is_told_of_each_row(self, relay, sent, caplog):
        """
        At a level that nobody has in production.
        """
        with caplog.at_level(logging.INFO, "workers"):
            announce()
            relay.drain()
        assert [] == caplog.records
        with caplog.at_level(logging.DEBUG, "workers"):
            announce()
            relay.drain()
        row = NotificationOutbox.objects.latest("id")
        (line,) = caplog.records
        assert (str(row.event_id), 2, row.pk) == (line.event_id, line.offset, line.outbox_id)

    def test_what_was_rolled_back_is_not_counted(self, settings, relay, sent):
        """
        A claim that didn't stand published nothing.
        """
        published = Metric("notifier_rows_published_total")
        announce()
        row = NotificationOutbox.objects.get()
        assert not relay.publish_held(row.shard, [row.pk], Drained())
        assert 0 == published.grown


def test_a_breaker_shows_whether_it_is_open():
    """
    By what is away.
    """
    gauge = Metric("notifier_breaker_open", of="moon")
    breaker = Breaker("The moon")
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
    A client's own inventions are one series.
    """
    closed = Metric("notifier_sockets_closed_total", code=series)
    note_closed(code)
    assert 1 == closed.grown
