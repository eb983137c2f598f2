"""Numbering: committed rows get offsets, gapless per stream, once, before they are published."""

import threading
from contextlib import contextmanager

import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from pillarbox.capture.notification import Notification, capture
from pillarbox.exceptions import LockLostError
from pillarbox.models import SHARDS, NotificationOutbox, Stream, shard_of
from pillarbox.stream.locks import numbering_lock, publishing_lock
from pillarbox.stream.numbering import number, number_overdue
from tests.database import elsewhere
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


def announce(stream, count=1):
    for _ in range(count):
        capture(
            Notification(
                stream=stream, event="X", object_type="ticket", object_id="1", payload="{}"
            ),
            using=USING,
        )


def offsets(stream):
    rows = NotificationOutbox.objects.filter(stream=stream).order_by("id")
    return list(rows.values_list("offset", flat=True))


def number_all():
    return sum(number(shard, using=USING) for shard in range(SHARDS))


def test_offsets_are_gapless_per_stream():
    """
    Each stream has its own offsets over any number of runs; its head is the last offset.
    """
    for _ in range(2):
        announce("a:1", 2)
        announce("b:1")
        number_all()
    assert [1, 2, 3, 4] == offsets("a:1")
    assert [1, 2] == offsets("b:1")
    assert {"a:1": 4, "b:1": 2} == dict(Stream.objects.values_list("name", "head"))
    assert 0 == number_all()


def test_a_stream_created_by_a_subscriber_starts_at_one():
    """
    The first row of an existing, empty stream gets offset one.
    """
    Stream.objects.create(name="a:1", shard=shard_of("a:1"))
    announce("a:1")
    number_all()
    assert [1] == offsets("a:1")


def test_batches_are_bounded(settings):
    """
    One run numbers at most BATCH_ROWS rows; later runs number the rest in order.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 2}
    announce("a:1", 3)
    assert [2, 1, 0] == [number_all() for _ in range(3)]
    assert [1, 2, 3] == offsets("a:1")


def test_uncommitted_rows_wait_and_leave_no_gap():
    """
    A row with a lower id that commits later gets the later offset; no offset is skipped.
    """

    @contextmanager
    def announced():
        with transaction.atomic():
            announce("a:1")
            yield

    with elsewhere(announced()):
        announce("a:1")
        number_all()
        assert [1] == offsets("a:1")
    number_all()
    assert [2, 1] == offsets("a:1")


def test_concurrent_writers_and_numberers_agree():
    """
    With concurrent writers and numberings, the offsets are 1 to n, once each.
    """

    def write(seed):
        for turn in range(20):
            try:
                with transaction.atomic():
                    announce("a:1")
                    if (turn + seed) % 4 == 0:
                        raise IntegrityError
            except IntegrityError:
                pass
        connections.close_all()

    def number_on():
        while not done.is_set():
            number_all()
        connections.close_all()

    done = threading.Event()
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    numberers = [threading.Thread(target=number_on) for _ in range(2)]
    for thread in writers + numberers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in numberers:
        thread.join()
    number_all()
    assert list(range(1, 61)) == sorted(offsets("a:1"))


def test_a_deleted_stream_continues():
    """
    If a stream's record was deleted but not its rows, the next offset follows the last one.
    """
    announce("a:1", 2)
    number_all()
    Stream.objects.all().delete()
    announce("a:1", 2)
    announce("b:1")
    number_all()
    assert [1, 2, 3, 4] == offsets("a:1")
    assert {"a:1": 4, "b:1": 1} == dict(Stream.objects.values_list("name", "head"))


def test_overdue_rows_that_wait_are_not_numbered():
    """
    A shard whose overdue rows wait behind an unrendered one doesn't count as numbered.
    """
    announce("a:1", 2)
    first = NotificationOutbox.objects.order_by("id")[:1]
    NotificationOutbox.objects.filter(pk__in=first).update(payload=None)
    assert set() == number_overdue(-1, using=USING)
    NotificationOutbox.objects.update(payload={})
    assert {shard_of("a:1")} == number_overdue(-1, using=USING)
    assert [1, 2] == offsets("a:1")


def test_overdue_rows_of_a_busy_shard_are_left(settings):
    """
    Only shards that this process numbered count as numbered.
    """
    announce("a:1")
    settings.PILLARBOX = (unhurried := settings.PILLARBOX) | {"LOCK_IDLE_SECONDS": PATIENCE}
    with elsewhere(numbering_lock(shard_of("a:1"), using=USING)):
        settings.PILLARBOX = unhurried | {"LOCK_IDLE_SECONDS": 0.01}
        assert set() == number_overdue(-1, using=USING)


class TestLocks:
    def test_publishing_is_exclusive(self):
        """
        One process at a time publishes a shard; others get False; other shards are free.
        """
        with elsewhere(publishing_lock(3, using=USING)):
            with publishing_lock(3, using=USING) as mine:
                assert not mine
            with publishing_lock(4, using=USING) as mine:
                assert mine
        with publishing_lock(3, using=USING) as mine:
            assert mine

    def test_publishing_never_stops_numbering(self):
        """
        The two locks of a shard have different keys.
        """
        announce("a:1")
        shard = shard_of("a:1")
        with elsewhere(publishing_lock(shard, using=USING)):
            assert 1 == number(shard, using=USING)

    def test_a_frozen_holder_is_cut_off(self, settings):
        """
        A stopped process loses its lock and connection after LOCK_IDLE_SECONDS.
        """
        unhurried = settings.PILLARBOX
        settings.PILLARBOX = unhurried | {"LOCK_IDLE_SECONDS": 0.2}
        taken, release, fate = threading.Event(), threading.Event(), []

        def freeze():
            try:
                with numbering_lock(3, using=USING):
                    taken.set()
                    release.wait(PATIENCE)
                    connection.cursor().execute("SELECT 1")
            except LockLostError as error:
                fate.append(str(error))
            finally:
                connections.close_all()

        thread = threading.Thread(target=freeze)
        thread.start()
        taken.wait()
        settings.PILLARBOX = unhurried
        with numbering_lock(3, using=USING):  # waits until PostgreSQL has cut the other off
            release.set()
        thread.join()
        assert "this process lost its lock" in fate[0]

    @pytest.mark.parametrize(
        ("site", "expected"), [("off", "local"), ("remote_apply", "remote_apply")]
    )
    def test_numbers_wait_for_the_disk_and_outcomes_do_not(self, site, expected):
        """
        Commits of offsets are durable; a lost outcome only means a second publication.
        """
        with connection.cursor() as cursor:
            cursor.execute(f"SET synchronous_commit = {site}")
            for lock, commit in ((numbering_lock, expected), (publishing_lock, "off")):
                with lock(3, using=USING):
                    cursor.execute("SHOW synchronous_commit")
                    assert commit == cursor.fetchone()[0]
            cursor.execute("SHOW synchronous_commit")
            assert site == cursor.fetchone()[0]
            cursor.execute("RESET synchronous_commit")

    def test_other_errors_are_themselves(self):
        """
        Only lock timeouts become ShardBusyError.
        """
        with pytest.raises(OperationalError, match="another"), numbering_lock(3, using=USING):
            raise OperationalError("another")

    def test_not_inside_a_transaction(self):
        """
        The lock needs a transaction of its own, which commits before rows are published.
        """
        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            number(1, using=USING)
