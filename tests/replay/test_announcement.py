"""The rows that a replay or a resend writes."""

import uuid

import pytest
from django.db.models.functions import Now

from pillarbox.models import NotificationOutbox
from tests.replay.replays import carried_out, decided, failed
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_replay_is_a_new_row_of_the_same_event(demo):
    """
    The new row has the event id, payload and mark of the old one, which keeps its error.
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


def test_a_resend_is_a_new_event(demo):
    """
    Published rows of one change share a new event id per decision.
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
