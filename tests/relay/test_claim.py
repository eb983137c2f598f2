"""Claims: which rows a worker takes, and in which order."""

import pytest
from django.db.models.functions import Now

from pillarbox.models import Claim, NotificationOutbox
from pillarbox.relay import claim, claimed_rows
from pillarbox.stream.attempts import FailedAttempt, record
from pillarbox.stream.locks import publishing_lock
from tests.database import elsewhere
from tests.relay.claims import USING, claimed, later, loaded
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


class TestUntried:
    def test_are_numbered_and_claimed_at_once(self):
        """
        Rows without an offset get one and are claimed in the same call.
        """
        first, second = make(), make()
        taken = claim.claim(3, using=USING)
        assert (2, 2, True) == (taken.numbered, len(taken.rows), taken.is_free)
        assert [(first.pk, 1), (second.pk, 2)] == [(row.pk, row.offset) for row in loaded()]

    def test_are_of_the_shard_and_pending(self, settings):
        """
        Published and failed rows, and rows of other shards, are not claimed.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
        first, second = make(1), make(2)
        make(1, stream="other:1", shard=4)
        make(3, published_at=Now())
        record([FailedAttempt(make(4).pk, 0, LookupError())], using=USING)
        assert [first.pk, second.pk] == claimed()

    def test_come_in_the_order_of_the_numbers(self):
        """
        Rows come in the order in which they were numbered, not written, even across streams.
        """
        second, first = make(2, numbering=1), make(1, numbering=1)
        assert [first.pk, second.pk] == claimed()
        claimed_rows.release(3, using=USING)
        second, first = make(1, stream="a:1", numbering=3), make(9, stream="b:1", numbering=0)
        assert [first.pk] == claimed(limit=1)
        NotificationOutbox.objects.all().delete()
        second, first = make(2), make(1)
        assert [first.pk, second.pk] == claimed()
        claimed_rows.release(3, using=USING)
        assert [first.pk] == claimed(limit=1)

    def test_are_a_batch(self, settings):
        """
        A batch has at most BATCH_ROWS rows, or as many as requested.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 2}
        rows = [make(offset) for offset in (1, 2, 3)]
        assert [row.pk for row in rows[:2]] == claimed()
        claimed_rows.release(3, using=USING)
        assert [rows[0].pk] == claimed(limit=1)

    def test_are_bounded_in_bytes(self, settings):
        """
        Large payloads make a small batch of at least one row, even if they are small when
        compressed.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_BYTES": 1000}
        rows = [make(offset, payload={"text": "x" * 450}) for offset in (1, 2, 3)]
        assert [row.pk for row in rows[:2]] == claimed()
        huge = [
            make(offset, stream="huge:1", shard=4, payload={"text": "x" * 9000})
            for offset in (1, 2)
        ]
        assert 2 == len(claim.claim(4, using=USING).rows)  # a few bytes each, compressed
        assert [huge[0].pk] == [row.pk for row in loaded(4)]
        incompressible = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(400))
        for offset in (1, 2):
            make(offset, stream="huge:2", shard=5, payload=incompressible)
        assert 1 == len(claim.claim(5, using=USING).rows)

    def test_behind_a_tried_row_wait(self):
        """
        Rows behind a tried row of their stream wait; other streams don't.
        """
        make(1, claims=1)
        make(2)
        free = make(1, stream="ticket:2")
        assert [free.pk] == claimed()


class TestTried:
    def test_wait_for_their_backoff(self):
        """
        A row and its stream are due again after the row's backoff.
        """
        again = make(1, attempts=1, claims=1, available_at=later(-1))
        make(1, stream="ticket:2", attempts=1, claims=1, available_at=later())
        make(2, stream="ticket:2", claims=1)
        assert [again.pk] == claimed(tried=True)

    def test_are_taken_apart_from_the_untried(self):
        """
        A thousand poison rows don't displace other rows.
        """
        poison, good = make(1, claims=1, attempts=1), make(1, stream="ticket:2")
        assert [good.pk] == claimed()
        claimed_rows.release(3, using=USING)
        assert [poison.pk] == claimed(tried=True)

    def test_come_in_smaller_batches_after_each_death(self, settings):
        """
        Each death quarters the batch; rows with fewer deaths come first.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 16}
        for number in range(20):
            make(1, stream=f"ticket:{number}", claims=1)
        killer = make(1, stream="ticket:20", claims=3)
        assert 4 == len(claimed(tried=True))
        NotificationOutbox.objects.filter(claims__lte=2).update(claims=2)
        assert 1 == len(claimed(tried=True))
        NotificationOutbox.objects.exclude(pk=killer.pk).update(claims=1, published_at=Now())
        claimed_rows.release(3, using=USING)
        assert [killer.pk] == claimed(tried=True)

    def test_attempts_are_no_deaths(self, settings):
        """
        Rows whose attempts failed without a death come in full batches.
        """
        for number in range(20):
            make(1, stream=f"ticket:{number}", claims=5, attempts=5)
        assert 20 == len(claimed(tried=True))


def test_a_shard_that_another_worker_publishes_is_left_to_it():
    """
    Its rows get numbered, but the other worker's claim is not touched.
    """
    make()
    with elsewhere(publishing_lock(3, using=USING)):
        result = claim.claim(3, using=USING)
    assert (1, [], False) == (result.numbered, result.rows, result.is_free)
    assert not Claim.objects.exists()
