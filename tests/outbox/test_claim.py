"""What a worker takes in hand, in which order, and what becomes of what a dead one left."""

from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now
from django.utils import timezone

from apps.outbox import claim
from apps.outbox.attempts import retry
from apps.outbox.claim import FORGIVEN_DEATHS
from apps.outbox.locks import publishing_lock
from apps.outbox.models import Claim, NotificationOutbox
from tests.database import elsewhere
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


def later(seconds=60):
    return Now() + timedelta(seconds=seconds)


def claimed(shard=3, *, tried=False, limit=None):
    """Take what a worker would, and return it, after the last one is certainly dead."""
    Claim.objects.update(claimed_at=later(-60))
    claim.claim(shard, using=USING, tried=tried, limit=limit)
    return [row.pk for row in held(shard)]


def held(shard=3, longest=10**9):
    """Return what would be published of what is in hand."""
    pks = Claim.objects.filter(shard=shard).values_list("rows", flat=True).first() or []
    return claim.load(pks, using=USING, longest=longest)


def settled(shard=3, *, tried=False):
    """Take what a worker would, and settle it."""
    claimed(shard, tried=tried)
    with publishing_lock(shard, using=USING):
        rows = held(shard)
        claim.settle(rows, using=USING)
        claim.release(shard, using=USING)
    return [row.pk for row in rows]


class TestUntried:
    def test_are_numbered_and_taken_at_once(self):
        """
        Rows without an offset get one and are in hand, when the claim returns.
        """
        first, second = make(), make()
        taken = claim.claim(3, using=USING)
        assert (2, 2, True) == (taken.numbered, len(taken.rows), taken.is_free)
        assert [(first.pk, 1), (second.pk, 2)] == [(row.pk, row.offset) for row in held()]

    def test_are_of_the_shard_and_pending(self, settings):
        """
        Published and failed rows, and those of other shards, are not taken.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
        first, second = make(1), make(2)
        make(1, stream="other:1", shard=4)
        make(3, published_at=Now())
        retry([(make(4).pk, 0, LookupError())], using=USING)
        assert [first.pk, second.pk] == claimed()

    def test_come_in_the_order_of_the_numbers(self):
        """
        Where rows were numbered in another order than written, the number counts; across streams it is
        which numbering came first.
        """
        second, first = make(2, numbering=1), make(1, numbering=1)
        assert [first.pk, second.pk] == claimed()
        claim.release(3, using=USING)
        second, first = make(1, stream="a:1", numbering=3), make(9, stream="b:1", numbering=0)
        assert [first.pk] == claimed(limit=1)
        NotificationOutbox.objects.all().delete()
        second, first = make(2), make(1)
        assert [first.pk, second.pk] == claimed()
        claim.release(3, using=USING)
        assert [first.pk] == claimed(limit=1)

    def test_are_a_batch(self, settings):
        """
        At most BATCH_ROWS at once, or as many as are asked for.
        """
        settings.OUTBOX = settings.OUTBOX | {"BATCH_ROWS": 2}
        rows = [make(offset) for offset in (1, 2, 3)]
        assert [row.pk for row in rows[:2]] == claimed()
        claim.release(3, using=USING)
        assert [rows[0].pk] == claimed(limit=1)

    def test_are_bounded_in_bytes(self, settings):
        """
        Large payloads make a small batch, of one row at least; also if they look small when stored.
        """
        settings.OUTBOX = settings.OUTBOX | {"BATCH_BYTES": 1000}
        rows = [make(offset, payload={"text": "x" * 450}) for offset in (1, 2, 3)]
        assert [row.pk for row in rows[:2]] == claimed()
        huge = [
            make(offset, stream="huge:1", shard=4, payload={"text": "x" * 9000})
            for offset in (1, 2)
        ]
        assert 2 == len(claim.claim(4, using=USING).rows)  # a few bytes each, compressed
        assert [huge[0].pk] == [row.pk for row in held(4)]
        incompressible = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(400))
        for offset in (1, 2):
            make(offset, stream="huge:2", shard=5, payload=incompressible)
        assert 1 == len(claim.claim(5, using=USING).rows)

    def test_behind_a_tried_row_wait(self):
        """
        A stream keeps its order: behind a row that was tried it waits, and no other stream does.
        """
        make(1, claims=1)
        make(2)
        free = make(1, stream="ticket:2")
        assert [free.pk] == claimed()

    def test_too_long_a_payload_stays_in_the_database(self):
        """
        The row is in hand, to be published as a hint.
        """
        make(1, payload={"text": "x" * 100})
        claimed()
        assert [None] == [row.payload for row in held(longest=50)]


class TestTried:
    def test_wait_for_their_time(self):
        """
        A row is due again when its backoff is over, and its stream with it.
        """
        again = make(1, attempts=1, claims=1, available_at=later(-1))
        make(1, stream="ticket:2", attempts=1, claims=1, available_at=later())
        make(2, stream="ticket:2", claims=1)
        assert [again.pk] == claimed(tried=True)

    def test_are_taken_apart_from_the_untried(self):
        """
        A thousand poison rows take no place of others'.
        """
        poison, good = make(1, claims=1, attempts=1), make(1, stream="ticket:2")
        assert [good.pk] == claimed()
        claim.release(3, using=USING)
        assert [poison.pk] == claimed(tried=True)

    def test_come_in_batches_the_smaller_the_more_died(self, settings):
        """
        Each death quarters the batch; rows with fewer deaths come first.
        """
        settings.OUTBOX = settings.OUTBOX | {"BATCH_ROWS": 16}
        for number in range(20):
            make(1, stream=f"ticket:{number}", claims=1)
        killer = make(1, stream="ticket:20", claims=3)
        assert 4 == len(claimed(tried=True))
        NotificationOutbox.objects.filter(claims__lte=2).update(claims=2)
        assert 1 == len(claimed(tried=True))
        NotificationOutbox.objects.exclude(pk=killer.pk).update(claims=1, published_at=Now())
        claim.release(3, using=USING)
        assert [killer.pk] == claimed(tried=True)

    def test_attempts_are_no_deaths(self, settings):
        """
        Rows that failed politely come in full batches.
        """
        for number in range(20):
            make(1, stream=f"ticket:{number}", claims=5, attempts=5)
        assert 20 == len(claimed(tried=True))


class TestDeaths:
    def test_are_counted_when_somebody_looks(self):
        """
        What a dead worker left in hand has a claim more, and no attempt; it is tried from then on.
        """
        first, second = make(), make()
        claimed()
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))
        assert [] == claimed()
        assert {(1, 0)} == set(NotificationOutbox.objects.values_list("claims", "attempts"))
        assert [first.pk, second.pk] == settled(tried=True)
        assert {(2, 0)} == set(NotificationOutbox.objects.values_list("claims", "attempts"))

    def test_are_not_counted_of_what_was_settled(self):
        """
        A claim with an outcome is over.
        """
        make()
        settled()
        make()
        settled()
        assert {1} == set(NotificationOutbox.objects.values_list("claims", flat=True))
        assert [[]] == list(Claim.objects.values_list("rows", flat=True))

    def test_ten_fail_nothing(self):
        """
        However often a deploy kills workers with a row in hand, no attempt is counted for it.
        """
        make()
        for death in range(FORGIVEN_DEATHS):
            claimed(tried=death > 0)
        claimed(tried=True)
        row = NotificationOutbox.objects.get()
        assert (FORGIVEN_DEATHS, 0) == (row.claims, row.attempts)
        assert [row.pk] == [row.pk for row in held()]

    def test_of_a_row_alone_count_in_the_end(self, settings):
        """
        A row that goes on to kill its worker fails, alone, with a cause that says so.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        killer, mate = make(), make(stream="ticket:2")
        claimed()
        while NotificationOutbox.objects.get(pk=killer.pk).state == "pending":
            if mate.pk in claimed(tried=True):
                NotificationOutbox.objects.filter(pk=mate.pk, claims__gt=5).update(
                    published_at=Now()
                )
        killer.refresh_from_db()
        assert ("failed", 2, FORGIVEN_DEATHS + 2) == (killer.state, killer.attempts, killer.claims)
        assert "apps.outbox.exceptions.WorkerDiedError" == killer.error_type
        assert "10 had died before" in killer.error_message
        assert "published" == NotificationOutbox.objects.get(pk=mate.pk).state

    def test_of_many_fail_none_of_them(self, settings):
        """
        Only a row that was alone may fail: together, deaths are claims, however many.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
        rows = [make(offset, claims=FORGIVEN_DEATHS + 5) for offset in (1, 2)]
        claim_all = Claim(shard=3, rows=[row.pk for row in rows])
        claim_all.save()
        claimed(tried=True)
        assert {(FORGIVEN_DEATHS + 6, 0)} == set(
            NotificationOutbox.objects.values_list("claims", "attempts")
        )

    def test_are_none_while_a_claim_is_young(self):
        """
        A worker that has claimed, and has not begun to publish, is not dead: the shard is left to it.
        """
        row = make()
        claim.claim(3, using=USING)
        make()
        for tried in (False, True):
            assert not claim.claim(3, using=USING, tried=tried).is_free
        assert [row.pk] == [row.pk for row in held()]
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))
        assert not NotificationOutbox.objects.filter(offset=None).exists()


def test_a_shard_that_somebody_publishes_is_left_to_them():
    """
    Its rows are numbered, and nobody's claim is touched.
    """
    make()
    with elsewhere(publishing_lock(3, using=USING)):
        result = claim.claim(3, using=USING)
    assert (1, [], False) == (result.numbered, result.rows, result.is_free)
    assert not Claim.objects.exists()


def test_work_is_what_can_be_done_now():
    """
    Rows to number and rows to publish are work; what waits or is over is none.
    """
    make(shard=1)
    make(1, shard=2)
    make(2, shard=5, attempts=1, claims=1, available_at=later())
    make(3, shard=6, published_at=Now())
    make(4, shard=5)  # behind the one that waits
    make(1, shard=7, claims=1, stream="ticket:7")
    found = claim.work(using=USING)
    assert [(1, False), (2, False)] == sorted(found[:2])
    assert [(7, True)] == found[2:]


def test_settle_records_the_time_and_the_claim():
    """
    A settled row is published, once.
    """
    make(1)
    claimed()
    rows = held()
    assert 1 == claim.settle(rows, using=USING)
    assert 0 == claim.settle(rows, using=USING)
    row = NotificationOutbox.objects.get()
    assert ("published", 1) == (row.state, row.claims)
    assert row.published_at <= timezone.now() + timedelta(seconds=1)
