"""Replays: each row is announced once, in order, with concurrent operators and dying workers."""

import threading
from dataclasses import replace

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now

from apps.tickets.models import Ticket
from pillarbox.models import SHARDS, NotificationOutbox, Replay
from pillarbox.replay import replay as replaying
from pillarbox.replay.replay import (
    BATCH,
    MEANWHILE,
    BatchOutcome,
    carry_out,
    carry_out_all,
    carry_out_batch,
)
from pillarbox.stream.numbering import number
from pillarbox.types.live_models import all_announcers, register_announcer, unregister_announcer
from tests.database import elsewhere, row_locks, wait_for_a_waiting_lock
from tests.replay.replays import USING, again, carried_out, decided, fail, failed, finish
from tests.rows import make, many_failed
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


class TestOnce:
    def test_many_in_their_order_batch_by_batch(self, demo):
        """
        Over any number of batches, rows are announced in the order of their capture.
        """
        pks = many_failed(BATCH + 10)
        replay = carried_out(decided(demo))
        assert pks == again()
        assert (BATCH + 10, BATCH + 10, 0) == (replay.total, replay.announced, replay.refused)

    def test_of_two_operators_at_once(self, demo, other):
        """
        Two concurrent decisions about the same rows announce each row once.
        """
        pks = set(many_failed(2 * BATCH - 1))
        replays = [decided(user) for user in (demo, other)]
        barrier = threading.Barrier(2)

        def work(replay):
            barrier.wait()
            try:
                carry_out(replay.pk, using=USING)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work, args=(replay,)) for replay in replays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for replay in replays:
            finish(replay)
        assert pks == set(again())
        assert len(pks) == len(again())
        for replay in replays:
            replay.refresh_from_db()
            assert replay.total == replay.examined
        assert len(pks) == sum(replay.announced for replay in replays)
        assert {MEANWHILE} == {reason for replay in replays for reason in replay.refusals}

    def test_of_two_workers_at_one_decision(self, demo):
        """
        The second worker leaves the decision to the first.
        """
        failed(1)
        replay = decided(demo)
        with elsewhere(row_locks(Replay.objects.all())):
            assert BatchOutcome.TAKEN is carry_out_batch(replay.pk, using=USING)
        assert [] == again()
        carried_out(replay)

    def test_twice_says_that_it_was_replayed_before(self, demo):
        """
        A row is replayed only once; a second decision announces nothing and says why.
        """
        failed(1)
        carried_out(decided(demo))
        replay = carried_out(decided(demo))
        assert (0, 1, {MEANWHILE: 1}) == (replay.announced, replay.refused, replay.refusals)


class TestDeath:
    def test_a_batch_and_its_position_are_one(self, demo, settings):
        """
        An interrupted batch leaves nothing, and the next worker announces it.
        """
        pk = failed(1).pk
        replay = decided(demo)
        settings.PILLARBOX = settings.PILLARBOX | {
            "WAKE_UP": "tests.no_such_module.ring",
            "RETENTION_SECONDS": 1e300,
        }
        assert BatchOutcome.BLOCKED is carry_out_batch(replay.pk, using=USING)
        replay.refresh_from_db()
        assert ([], 0) == (again(), replay.position)
        assert replay.blocked_reason.startswith("DataError: ")
        settings.PILLARBOX = {}
        assert "" == carried_out(replay).blocked_reason
        assert [pk] == again()

    def test_a_locked_object_blocks_one_decision_and_no_other(
        self, demo, ticket, empty_outbox, settings
    ):
        """
        A lock on an object delays only decisions about it, and they give up soon.
        """
        ticket.title = "Changed"
        ticket.save()
        fail()
        blocked = decided(demo)
        fine = failed(1, stream="thing:1")
        other = decided(demo, {"pks": str(fine.pk)})
        with elsewhere(row_locks(Ticket.objects.all())):
            assert carry_out_all(using=USING, seconds=PATIENCE) is False
            blocked.refresh_from_db()
            assert "lock" in blocked.blocked_reason
            assert blocked.finished_at is None
        other.refresh_from_db()
        assert other.finished_at is not None
        assert carry_out_all(using=USING, seconds=PATIENCE) is False
        blocked.refresh_from_db()
        assert (2, "") == (blocked.announced, blocked.blocked_reason)

    def test_is_cut_short_in_between(self, demo):
        """
        A worker stops at its time limit, and returns that there is more.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        assert carry_out_all(using=USING, seconds=0) is True
        replay.refresh_from_db()
        assert (BATCH, None) == (replay.announced, replay.finished_at)
        assert carry_out_all(using=USING, seconds=PATIENCE) is False


def test_rows_replayed_while_a_batch_waits_are_passed_over(demo, monkeypatch):
    """
    A batch whose rows were all replayed by another decision isn't taken for the end.
    """
    monkeypatch.setattr(replaying, "LOCK_MS", PATIENCE * 1000)
    pks = many_failed(BATCH + 1)
    first, second = decided(demo), decided(demo)
    taken = threading.Event()

    def slow():
        try:
            with transaction.atomic():
                replaying._carry_out_batch(first.pk, USING)
                taken.set()
                wait_for_a_waiting_lock()
        finally:
            taken.set()
            connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    taken.wait()
    turn = carry_out_batch(second.pk, using=USING)
    thread.join()
    assert BatchOutcome.MORE is turn
    carried_out(second)
    assert pks == again()


def test_pruned_meanwhile(demo):
    """
    Pruned rows are counted as refused.
    """
    rows = [make(n, published_at=Now(), object_type="thing") for n in (1, 2)]
    replay = decided(demo, {"state": "published"}, is_resend=True, with_superseded=True)
    rows[0].delete()
    assert {MEANWHILE: 1} == carried_out(replay).refusals
    assert [rows[1].pk] == again()


@pytest.mark.parametrize("state", ["unnumbered", "pending", "published"])
def test_a_resend_is_not_made_twice_by_accident(demo, state):
    """
    A row sent again since is left out by default; one whose repetition failed is not.
    """
    row = make(1, published_at=Now(), object_type="thing", stream="thing:1")
    criteria = {"pks": [row.pk]}
    carried_out(decided(demo, criteria, is_resend=True))
    if state != "unnumbered":
        for shard in range(SHARDS):
            number(shard, using=USING)
    if state == "published":
        NotificationOutbox.objects.pending().update(published_at=Now())
    replay = carried_out(decided(demo, criteria, is_resend=True))
    assert (0, 1) == (replay.announced, replay.superseded)
    fail()
    NotificationOutbox.objects.filter(repeats=row.pk).update(
        published_at=None, failed_at=Now(), error_type="E"
    )
    assert 1 == carried_out(decided(demo, criteria, is_resend=True)).announced


def test_two_operators_resend_once(demo):
    """
    The second operator's decision waits for the lock, and then leaves the rows out.
    """
    row = make(1, published_at=Now(), object_type="thing", stream="thing:1")
    replays = [decided(demo, {"pks": [row.pk]}, is_resend=True) for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(replay):
        try:
            barrier.wait()
            finish(replay)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[replay]) for replay in replays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.pk] == again()


def _unreadable(row):
    raise ValueError(f"{row.title} has the token s3cr3t")


def test_a_blocked_reason_has_no_secrets(demo, ticket, empty_outbox, caplog):
    """
    Of an error in other code only its type and place are shown, because it may quote secrets.
    """
    ticket.title = "Changed"
    ticket.save()
    fail()
    replay = decided(demo)
    announcer = next(a for a in all_announcers() if a.object_type == "ticket")
    unregister_announcer(announcer)
    register_announcer(spoilt := replace(announcer, streams=_unreadable))
    try:
        assert BatchOutcome.BLOCKED is carry_out_batch(replay.pk, using=USING)
    finally:
        unregister_announcer(spoilt)
        register_announcer(announcer)
    replay.refresh_from_db()
    assert replay.blocked_reason.startswith("ValueError: raised in _unreadable, line ")
    assert replay.blocked_reason.endswith(" of test_replay.py.")
    assert "s3cr3t" not in "".join(str(vars(record)) for record in caplog.records)
