"""Due rows of a shard, and what becomes of them."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now
from django.utils import timezone

from apps.outbox.claim import LONGEST_ERROR, due, give_back, retry, settle, shards_with_work
from apps.outbox.models import NotificationOutbox

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS


def row(offset, stream="ticket:1", shard=3, **values):
    made = NotificationOutbox.objects.create(
        stream=stream,
        shard=shard,
        offset=offset,
        **{
            "event": "X",
            "object_type": "ticket",
            "object_id": "1",
            "payload": {},
            **values,
        },
    )
    return NotificationOutbox.objects.get(pk=made.pk)


def later(seconds=60):
    return Now() + timedelta(seconds=seconds)


class TestDue:
    def test_is_in_order_and_of_the_shard(self, settings):
        """
        Numbered pending rows of the shard are due, oldest first.
        """
        first, second = row(1), row(2)
        row(1, stream="other:1", shard=4)
        row(None)
        row(3, published_at=Now())
        settings.OUTBOX = {"MAX_ATTEMPTS": 1}
        retry(row(4), _raised("no such type"), using=USING)
        assert [first, second] == due(3, using=USING)

    def test_is_a_batch(self, settings):
        """
        At most BATCH_ROWS at once.
        """
        settings.OUTBOX = {"BATCH_ROWS": 1}
        first, _ = row(1), row(2)
        assert [first] == due(3, using=USING)

    def test_is_bounded_in_bytes(self, settings):
        """
        Large payloads make a small batch, of one row at least.
        """
        settings.OUTBOX = {"BATCH_BYTES": 250}
        rows = [row(offset, payload={"text": "x" * 100}) for offset in (1, 2, 3)]
        assert rows[:2] == due(3, using=USING)
        huge = row(1, stream="huge:1", shard=4, payload={"text": "x" * 1000})
        assert [huge] == due(4, using=USING)

    def test_is_in_the_order_of_the_offsets(self):
        """
        Where rows were numbered in another order than written, the number counts.
        """
        second, first = row(2), row(1)
        assert [first, second] == due(3, using=USING)

    def test_what_waits_holds_back_its_own_stream_only(self):
        """
        Behind a row that waits for its next attempt its stream waits, and no other.
        """
        row(1, attempts=1, available_at=later())
        row(2)
        free = row(1, stream="ticket:2")
        assert [free] == due(3, using=USING)

    def test_retry_comes_when_its_time_has_come(self):
        """
        A row whose backoff is over is due again, before what follows it.
        """
        again = row(1, attempts=1, available_at=later(-1))
        assert [again, row(2)] == due(3, using=USING)


class TestShardsWithWork:
    def test_names_what_can_be_done_now(self):
        """
        Rows to number and rows to publish are work; what waits or is over is none.
        """
        row(None, shard=1)
        row(1, shard=2)
        row(2, shard=5, attempts=1, available_at=later())
        row(3, shard=6, published_at=Now())
        row(4, shard=5)  # behind the one that waits
        assert [1, 2] == shards_with_work(using=USING)


def test_settle_records_the_time():
    """
    A settled row is published, once.
    """
    first = row(1)
    assert 1 == settle([first], using=USING)
    assert 0 == settle([first], using=USING)
    first.refresh_from_db()
    assert "published" == first.state


def test_give_back_takes_the_claim_back():
    """
    A row that was not tried has no claim without outcome.
    """
    first = row(1, claims=2)
    give_back([first], using=USING)
    first.refresh_from_db()
    assert (1, 0) == (first.claims, first.attempts)


class TestRetry:
    def test_waits_and_keeps_the_cause(self):
        """
        A failed attempt is counted, its cause kept, and the row due again after the backoff.
        """
        first = row(1)
        assert retry(first, _raised("no such type"), using=USING)
        first.refresh_from_db()
        assert ("pending", 1) == (first.state, first.attempts)
        assert first.available_at > timezone.now()
        assert ("builtins.LookupError", "no such type") == (first.error_type, first.error_message)
        assert "_raised" in first.error_traceback
        assert [] == due(3, using=USING)

    def test_fails_after_the_last_attempt(self, settings):
        """
        A row whose attempts are spent is failed, and its stream goes on.
        """
        settings.OUTBOX = {"MAX_ATTEMPTS": 2}
        first, second = row(1, attempts=1), row(2)
        assert not retry(first, _raised("again"), using=USING)
        first.refresh_from_db()
        assert ("failed", 2) == (first.state, first.attempts)
        assert [second] == due(3, using=USING)

    def test_bounds_what_it_keeps(self):
        """
        However long an error's text, a row keeps a readable part: the traceback's end.
        """
        first = row(1)
        retry(first, _raised("x" * 100_000), using=USING)
        first.refresh_from_db()
        assert len(first.error_message) == LONGEST_ERROR
        assert len(first.error_traceback) == LONGEST_ERROR


def _raised(message):
    try:
        raise LookupError(message)
    except LookupError as error:
        return error
