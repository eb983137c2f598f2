"""What must never be can't be stored."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import strategies as st

from apps.outbox.models import SHARDS, Claim, NotificationOutbox, Rendering, Stream, shard_of

pytestmark = pytest.mark.django_db


def make(**values):
    defaults = {"stream": "ticket:1", "shard": 0, "payload": {}, "event": "UPDATE_TICKET"}
    return NotificationOutbox.objects.create(
        **{**defaults, "object_type": "ticket", "object_id": "1", **values}
    )


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("outbox_shard", {"shard": SHARDS}),
        ("outbox_offset_from_one", {"offset": 0}),
        (
            "outbox_one_outcome",
            {"offset": 1, "published_at": Now(), "failed_at": Now(), "error_type": "E"},
        ),
        ("outbox_outcome_after_number", {"published_at": Now()}),
        ("outbox_failure_has_cause", {"offset": 1, "failed_at": Now()}),
        ("outbox_replayed_was_failed", {"replayed_at": Now()}),
        ("outbox_attempt_was_claimed", {"offset": 1, "attempts": 1}),
    ],
)
def test_constraint_refuses(constraint, values):
    """
    Each constraint refuses, by its name, what it is there for.
    """
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make(**values)


def test_a_position_is_taken_once():
    """
    No two rows of a stream have one offset.
    """
    make(offset=1)
    make(offset=1, stream="ticket:2")
    with pytest.raises(IntegrityError, match="outbox_position"), transaction.atomic():
        make(offset=1)


def test_a_row_is_no_move_unless_it_says_so():
    """
    A row that was written before there were moves, or by SQL of one's own, is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox_notificationoutbox"
            " (stream, shard, event_id, event, object_type, object_id, payload)"
            " VALUES ('a:1', 0, gen_random_uuid(), 'X', 'a', '1', '{}')"
        )
    assert NotificationOutbox.objects.get().is_move is False


def test_streams_and_claims_have_a_shard():
    """
    Nothing can be outside all shards.
    """
    with pytest.raises(IntegrityError, match="stream_shard"), transaction.atomic():
        Stream.objects.create(name="ticket:1", shard=SHARDS)
    with pytest.raises(IntegrityError, match="claim_shard"), transaction.atomic():
        Claim.objects.create(shard=SHARDS)
    with pytest.raises(IntegrityError, match="rendering_shard"), transaction.atomic():
        Rendering.objects.create(shard=SHARDS)
    assert "ticket:1" == str(Stream(name="ticket:1"))
    assert "2 rows of shard 3" == str(Claim(shard=3, rows=[1, 2]))
    assert "2 rows of shard 3" == str(Rendering(shard=3, rows=[1, 2]))


def test_a_row_is_the_replay_of_one():
    """
    No two failed rows were replayed as the same row.
    """
    again = make()
    make(stream="ticket:2", offset=1, failed_at=Now(), error_type="E", replayed_as=again)
    with pytest.raises(IntegrityError, match="outbox_replayed_as"), transaction.atomic():
        make(stream="ticket:3", offset=1, failed_at=Now(), error_type="E", replayed_as=again)


@given(st.text())
def test_every_stream_has_one_shard(stream):
    """
    Any name has a shard, and always the same.
    """
    assert 0 <= shard_of(stream) < SHARDS
    assert shard_of(stream) == shard_of(stream)


def test_shards_do_not_change():
    """
    A name's shard is the same in every process and version: rows store it.
    """
    assert [3, 8, 10] == [shard_of(name) for name in ("ticket:1", "ticket:2", "project.tickets:1")]


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
    A row's state is read off its facts, by the row and by the queryset alike.
    """
    row = NotificationOutbox.objects.get(pk=make(**values).pk)
    assert expected == row.state
    assert [row] == list(getattr(NotificationOutbox.objects, expected)())
    assert "UPDATE_TICKET on ticket:1" == str(row)
