"""The outbox: invalid rows can't be stored, and rows are selected by state."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from pillarbox.models import SHARDS, NotificationOutbox

pytestmark = pytest.mark.django_db


def make(**values):
    defaults = {"stream": "ticket:1", "shard": 0, "payload": {}, "event": "UPDATE_TICKET"}
    return NotificationOutbox.objects.create(
        **{**defaults, "object_type": "ticket", "object_id": "1", **values}
    )


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("pillarbox_shard", {"shard": SHARDS}),
        ("pillarbox_shard", {"shard": -1}),
        ("pillarbox_offset_from_one", {"offset": 0}),
        (
            "pillarbox_published_is_whole",
            {"offset": 1, "published_at": Now(), "failed_at": Now(), "error_type": "E"},
        ),
        ("pillarbox_published_is_whole", {"published_at": Now()}),
        ("pillarbox_published_is_whole", {"offset": 1, "published_at": Now(), "payload": None}),
        ("pillarbox_image_until_rendered", {"image": {}}),
        ("pillarbox_failure_has_cause", {"offset": 1, "failed_at": Now()}),
        ("pillarbox_replayed_was_failed", {"replayed_at": Now()}),
        ("pillarbox_attempt_was_claimed", {"offset": 1, "attempts": 1}),
        ("pillarbox_attempt_was_claimed", {"attempts": -1}),
        ("pillarbox_attempt_was_claimed", {"claims": -1}),
    ],
)
def test_constraint_refuses(constraint, values):
    """
    Each constraint, by name, rejects what it is made for.
    """
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make(**values)


def test_a_position_is_taken_once():
    """
    Two rows of a stream never have the same offset.
    """
    make(offset=1)
    make(offset=1, stream="ticket:2")
    with pytest.raises(IntegrityError, match="pillarbox_position"), transaction.atomic():
        make(offset=1)


def test_a_row_is_no_move_by_default():
    """
    Rows written by older versions or by plain SQL are not moves.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pillarbox_notificationoutbox"
            " (stream, shard, event_id, event, object_type, object_id, payload)"
            " VALUES ('a:1', 0, gen_random_uuid(), 'X', 'a', '1', '{}')"
        )
    assert NotificationOutbox.objects.get().is_move is False


def test_a_row_is_the_replay_of_one():
    """
    No two failed rows are replayed as the same row.
    """
    again = make()
    make(stream="ticket:2", offset=1, failed_at=Now(), error_type="E", replayed_as=again)
    with pytest.raises(IntegrityError, match="pillarbox_replayed_as"), transaction.atomic():
        make(stream="ticket:3", offset=1, failed_at=Now(), error_type="E", replayed_as=again)


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("pending", {}),
        ("pending", {"offset": 1}),
        ("published", {"offset": 1, "published_at": Now()}),
        ("failed", {"offset": 1, "failed_at": Now(), "error_type": "E"}),
    ],
)
def test_state(expected, values):
    """
    The row and the queryset derive the same state from a row's columns.
    """
    row = NotificationOutbox.objects.get(pk=make(**values).pk)
    assert expected == row.state
    assert [row] == list(getattr(NotificationOutbox.objects, expected)())
    assert "UPDATE_TICKET on ticket:1" == str(row)


def test_obsolete_rows_are_not_published_ones():
    """
    Obsolete rows have their own state; subscribers see them as skipped.
    """
    row = make(offset=1, published_at=Now(), obsolete_at=Now())
    shown = make(offset=2, published_at=Now())
    assert [row] == list(NotificationOutbox.objects.obsolete())
    assert [shown] == list(NotificationOutbox.objects.published())
