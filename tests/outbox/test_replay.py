"""Rows are announced again by a person's decision: each once, in order, whoever else decides or dies."""

import threading
import uuid
from dataclasses import replace

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models.functions import Now

from apps.outbox import replay as replaying
from apps.outbox.announcers import announcers, connect, disconnect
from apps.outbox.criteria import Criteria
from apps.outbox.models import SHARDS, NotificationOutbox, Replay
from apps.outbox.numbering import number
from apps.outbox.replay import (
    BATCH,
    MEANWHILE,
    Turn,
    cancel,
    carry_out,
    carry_out_all,
    carry_out_batch,
    decide,
    last_pk,
)
from apps.tickets.models import Ticket
from tests.database import elsewhere, row_locks, wait_for_a_waiting_lock
from tests.outbox.rows import make, many_failed
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


def decided(by, criteria=None, **values):
    """Return a decision about all failed rows, unless told otherwise."""
    found = Criteria.parse(criteria or {"state": "failed"})
    defaults = {"by": by, "reason": "mended", "last": last_pk(using=USING), "using": USING}
    return decide(found, **{**defaults, **values})


def carried_out(replay):
    """Return a decision that was carried out."""
    assert Turn.OVER is carry_out(replay.pk, using=USING)
    replay.refresh_from_db()
    assert replay.is_over
    assert replay.total == replay.looked_at
    return replay


def finish(replay):
    """Carry a decision out, as often as it is another's turn."""
    wait_until(lambda: carry_out(replay.pk, using=USING) is Turn.OVER, "it is carried out")


def fail():
    """Make the pending rows failed."""
    for shard in range(SHARDS):
        number(shard, using=USING)
    NotificationOutbox.objects.pending().update(failed_at=Now(), error_type="E")


def failed(offset, **values):
    """Return a failed row that is about nothing registered."""
    return make(offset, failed_at=Now(), error_type="E", object_type="thing", **values)


def again():
    """Return what was announced again, in order: what it repeats and its stream."""
    rows = NotificationOutbox.objects.pending().order_by("pk")
    return list(rows.values_list("repeats", flat=True))


class TestOnce:
    def test_is_a_new_row_of_the_same_event(self, demo):
        """
        The new row has the same event id, payload and mark, no offset yet; the old one keeps its error.
        """
        old = failed(1, payload={"a": 1}, is_move=True)
        carried_out(decided(demo))
        new = NotificationOutbox.objects.pending().get()
        old.refresh_from_db()
        assert (old.event_id, {"a": 1}, True, None, old.pk) == (
            new.event_id,
            new.payload,
            new.is_move,
            new.offset,
            new.repeats,
        )
        assert ("failed", "E", new, demo) == (
            old.state,
            old.error_type,
            old.replayed_as,
            old.replayed_by,
        )

    def test_many_in_their_order_batch_by_batch(self, demo):
        """
        However many batches it takes, rows are announced in the order in which they were captured.
        """
        pks = many_failed(BATCH + 10)
        replay = carried_out(decided(demo))
        assert pks == again()
        assert (BATCH + 10, BATCH + 10, 0) == (replay.total, replay.announced, replay.refused)

    def test_of_two_operators_at_once(self, demo, other):
        """
        Two decisions about the same rows, carried out at once, announce each row once between them.
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
            assert replay.total == replay.looked_at
        assert len(pks) == sum(replay.announced for replay in replays)
        assert {MEANWHILE} == {reason for replay in replays for reason in replay.refusals}

    def test_of_two_workers_at_one_decision(self, demo):
        """
        Whoever comes second leaves it to the first.
        """
        failed(1)
        replay = decided(demo)
        with elsewhere(row_locks(Replay.objects.all())):
            assert Turn.TAKEN is carry_out_batch(replay.pk, using=USING)
        assert [] == again()
        carried_out(replay)

    def test_of_a_form_sent_twice(self, demo, other):
        """
        The same key decides once, whoever sends it again.
        """
        failed(1)
        key = uuid.uuid4()
        assert decided(demo, key=key) == decided(other, key=key, reason="again")
        assert ["mended"] == list(Replay.objects.values_list("reason", flat=True))

    def test_twice_says_that_it_was_replayed_before(self, demo):
        """
        A row is replayed once for ever; the second decision finds nothing to do, and says why.
        """
        failed(1)
        carried_out(decided(demo))
        replay = carried_out(decided(demo))
        assert (0, 1, {MEANWHILE: 1}) == (replay.announced, replay.refused, replay.refusals)

    def test_later_rows_are_not_meant(self, demo):
        """
        What fails after the confirmation page was shown is not part of the decision.
        """
        failed(1)
        last = last_pk(using=USING)
        failed(2)
        assert 1 == carried_out(decided(demo, last=last)).announced


class TestDeath:
    def test_a_batch_and_how_far_it_came_are_one(self, demo, settings):
        """
        What interrupts a batch leaves nothing of it, and the next worker announces it.
        """
        pk = failed(1).pk
        replay = decided(demo)
        settings.OUTBOX = settings.OUTBOX | {
            "BELL": "tests.no_such_module.ring",
            "RETENTION_SECONDS": "nonsense",
        }
        assert Turn.HINDERED is carry_out_batch(replay.pk, using=USING)
        replay.refresh_from_db()
        assert ([], 0) == (again(), replay.position)
        assert replay.hindrance.startswith("DataError: ") or "nonsense" in replay.hindrance
        settings.OUTBOX = {}
        assert "" == carried_out(replay).hindrance
        assert [pk] == again()

    def test_a_locked_object_hinders_one_decision_and_no_other(
        self, demo, ticket, empty_outbox, settings
    ):
        """
        Somebody who holds an object's lock is waited for in vain, not for long, and others go on.
        """
        ticket.title = "Changed"
        ticket.save()
        fail()
        hindered = decided(demo)
        fine = failed(1, stream="thing:1")
        other = decided(demo, {"pks": str(fine.pk)})
        with elsewhere(row_locks(Ticket.objects.all())):
            assert carry_out_all(using=USING, seconds=PATIENCE) is False
            hindered.refresh_from_db()
            assert "lock" in hindered.hindrance
            assert hindered.finished_at is None
        other.refresh_from_db()
        assert other.finished_at is not None
        assert carry_out_all(using=USING, seconds=PATIENCE) is False
        hindered.refresh_from_db()
        assert (2, "") == (hindered.announced, hindered.hindrance)

    def test_is_cut_short_in_between(self, demo):
        """
        A worker goes on for as long as it may, and then says that there is more.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        assert carry_out_all(using=USING, seconds=0) is True
        replay.refresh_from_db()
        assert (BATCH, None) == (replay.announced, replay.finished_at)
        assert carry_out_all(using=USING, seconds=PATIENCE) is False


def test_rows_replayed_while_a_batch_waits_are_passed_over(demo, monkeypatch):
    """
    A batch all of whose rows somebody else replayed is not taken for the end.
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
    assert Turn.MORE is turn
    carried_out(second)
    assert pks == again()


class TestCancel:
    def test_ends_it_where_it_is(self, demo, other):
        """
        What was announced stays, the rest is left; it is logged who cancelled.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        assert Turn.MORE is carry_out_batch(replay.pk, using=USING)
        assert cancel(replay.pk, by=other, using=USING) is True
        assert Turn.OVER is carry_out(replay.pk, using=USING)
        assert BATCH == len(again())
        assert [(other.pk, "Cancelled."), (demo.pk, "Replay of state failed: mended")] == list(
            LogEntry.objects.order_by("-pk").values_list("user_id", "change_message")
        )
        assert cancel(replay.pk, by=other, using=USING) is False

    def test_leaves_what_another_decision_takes_up(self, demo):
        """
        The rest is one more decision's: rows after where the first one ended.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        carry_out_batch(replay.pk, using=USING)
        cancel(replay.pk, by=demo, using=USING)
        replay.refresh_from_db()
        rest = decided(demo, {"state": "failed", "after": replay.position})
        assert (1, 1) == (rest.total, carried_out(rest).announced)


def test_pruned_meanwhile(demo):
    """
    Rows that are gone are accounted for.
    """
    rows = [make(n, published_at=Now(), object_type="thing") for n in (1, 2)]
    replay = decided(demo, {"state": "published"}, is_resend=True, with_superseded=True)
    rows[0].delete()
    assert {MEANWHILE: 1} == carried_out(replay).refusals
    assert [rows[1].pk] == again()


def test_a_resend_is_a_new_event(demo):
    """
    Published rows of one change get one new event id between them, another for each decision.
    """
    event = uuid.uuid4()
    rows = [
        make(1, published_at=Now(), object_type="thing", event_id=event, stream=f"thing:{n}")
        for n in (1, 2)
    ]
    criteria = {"pks": ",".join(str(row.pk) for row in rows)}
    for is_again in (False, True):
        replay = decided(demo, criteria, is_resend=True, with_superseded=is_again)
        assert 2 == carried_out(replay).announced
    new = list(
        NotificationOutbox.objects.pending().order_by("pk").values_list("event_id", flat=True)
    )
    assert new[0] == new[1] != new[2] == new[3]
    assert event not in new
    assert {None} == {row.replayed_at for row in NotificationOutbox.objects.all()}


@pytest.mark.parametrize("state", ["unnumbered", "pending", "published"])
def test_a_resend_is_not_made_twice_by_accident(demo, state):
    """
    What somebody sent again since is left out, unless it is asked for; what failed meanwhile is not.
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
    Who comes second waits for the first one's lock, and finds that it was sent.
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


def test_what_hinders_has_no_secrets(demo, ticket, empty_outbox, caplog):
    """
    Of an error that others' code raises, which may quote what it likes, it is said what it is and where.
    """
    ticket.title = "Changed"
    ticket.save()
    fail()
    replay = decided(demo)
    announcer = next(a for a in announcers() if a.object_type == "ticket")
    disconnect(announcer)
    connect(spoilt := replace(announcer, streams=_unreadable))
    try:
        assert Turn.HINDERED is carry_out_batch(replay.pk, using=USING)
    finally:
        disconnect(spoilt)
        connect(announcer)
    replay.refresh_from_db()
    assert replay.hindrance.startswith("ValueError: raised in _unreadable, line ")
    assert replay.hindrance.endswith(" of test_replay.py.")
    assert "s3cr3t" not in "".join(str(vars(record)) for record in caplog.records)


class TestLog:
    def test_of_a_selection_is_on_each_row(self, demo):
        """
        Whoever looks at the row's history finds who announced it again, and why.
        """
        row = failed(1)
        replay = carried_out(decided(demo, {"pks": [row.pk]}))
        entries = LogEntry.objects.filter(user=demo).order_by("pk")
        assert [
            (str(replay.pk), f"Replay of pks {row.pk}: mended"),
            (str(row.pk), "Replay: mended"),
        ] == [(entry.object_id, entry.change_message) for entry in entries]

    def test_outlives_the_account(self, demo):
        """
        A decision is carried out, also if who made it is gone; their name stays.
        """
        failed(1)
        replay = decided(demo, {"pks": [NotificationOutbox.objects.get().pk]})
        demo.delete()
        replay.refresh_from_db()
        assert (1, "demo", None) == (carried_out(replay).announced, replay.by_name, replay.by)


def test_asks_a_worker_once_it_is_committed(demo, settings):
    """
    `REPLAY` is called after the commit, and not for a decision that was made before; without it, nothing is.
    """
    settings.OUTBOX = settings.OUTBOX | {"REPLAY": "tests.outbox.test_replay.note"}
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        decided(demo)
        raise ZeroDivisionError
    key = uuid.uuid4()
    for _ in range(2):
        decided(demo, key=key)
    settings.OUTBOX = settings.OUTBOX | {"REPLAY": ""}
    decided(demo)
    assert [USING] == asked


asked: list[str] = []


def note(using):
    """Called with the database that has something to replay."""
    asked.append(using)
