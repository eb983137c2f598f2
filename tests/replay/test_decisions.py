"""Decisions about replays: each is recorded once, logged, and can be cancelled."""

import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction

from pillarbox.models import NotificationOutbox, Replay
from pillarbox.replay.decisions import cancel, last_pk
from pillarbox.replay.replay import BATCH, BatchOutcome, carry_out, carry_out_batch
from tests.replay.replays import USING, again, carried_out, decided, failed
from tests.rows import many_failed

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_form_sent_twice_is_one_decision(demo, other):
    """
    Two decisions with the same key are one, with the reason of the first.
    """
    failed(1)
    key = uuid.uuid4()
    assert decided(demo, key=key) == decided(other, key=key, reason="again")
    assert ["fixed"] == list(Replay.objects.values_list("reason", flat=True))


def test_later_rows_are_left_out(demo):
    """
    Rows that fail after the confirmation page was shown are not part of the decision.
    """
    failed(1)
    last = last_pk(using=USING)
    failed(2)
    assert 1 == carried_out(decided(demo, last=last)).announced


class TestCancel:
    def test_ends_it_where_it_is(self, demo, other):
        """
        Announced rows stay, the rest is left; the log names the operator who cancelled.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        assert BatchOutcome.MORE is carry_out_batch(replay.pk, using=USING)
        assert cancel(replay.pk, by=other, using=USING) is True
        assert BatchOutcome.OVER is carry_out(replay.pk, using=USING)
        assert BATCH == len(again())
        assert [(other.pk, "Cancelled."), (demo.pk, "Replay of state failed: fixed")] == list(
            LogEntry.objects.order_by("-pk").values_list("user_id", "change_message")
        )
        assert cancel(replay.pk, by=other, using=USING) is False

    def test_leaves_the_rest_to_another_decision(self, demo):
        """
        Another decision can announce the rows after the position of the cancelled one.
        """
        many_failed(BATCH + 1)
        replay = decided(demo)
        carry_out_batch(replay.pk, using=USING)
        cancel(replay.pk, by=demo, using=USING)
        replay.refresh_from_db()
        rest = decided(demo, {"state": "failed", "after": replay.position})
        assert (1, 1) == (rest.total, carried_out(rest).announced)


class TestLog:
    def test_of_a_selection_is_on_each_row(self, demo):
        """
        The history of each row in the admin names operator and reason.
        """
        row = failed(1)
        replay = carried_out(decided(demo, {"pks": [row.pk]}))
        entries = LogEntry.objects.filter(user=demo).order_by("pk")
        assert [
            (str(replay.pk), f"Replay of pks {row.pk}: fixed"),
            (str(row.pk), "Replay: fixed"),
        ] == [(entry.object_id, entry.change_message) for entry in entries]

    def test_outlives_the_account(self, demo):
        """
        A decision is carried out even if its operator's account is deleted; the name is kept.
        """
        failed(1)
        replay = decided(demo, {"pks": [NotificationOutbox.objects.get().pk]})
        demo.delete()
        replay.refresh_from_db()
        assert (1, "demo", None) == (carried_out(replay).announced, replay.by_name, replay.by)


def test_asks_a_worker_once_it_is_committed(demo, settings):
    """
    `REPLAY` is called after the commit of a new decision; without the setting nothing is called.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"REPLAY": "tests.replay.test_decisions.note"}
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        decided(demo)
        raise ZeroDivisionError
    key = uuid.uuid4()
    for _ in range(2):
        decided(demo, key=key)
    settings.PILLARBOX = settings.PILLARBOX | {"REPLAY": ""}
    decided(demo)
    assert [USING] == asked


asked: list[str] = []


def note(using):
    """Called with the database's alias when a replay waits."""
    asked.append(using)
