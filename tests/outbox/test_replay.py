"""A failed row is announced again by a person's decision, once."""

import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from apps.outbox.exceptions import NotReplayableError
from apps.outbox.models import NotificationOutbox
from apps.outbox.replay import replay
from apps.realtime.registry import object_type, register, unregister

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


@pytest.fixture
def failed(settings, empty_outbox, ticket, relay):
    """A row that failed because its object type was no longer registered."""
    settings.OUTBOX = {"MAX_ATTEMPTS": 1}
    ticket.title = "Changed"
    ticket.save()
    kind = type(object_type("ticket"))
    unregister("ticket")
    try:
        relay.drain()
    finally:
        register(kind)
    return NotificationOutbox.objects.failed().get(stream=f"ticket:{ticket.pk}")


def test_is_a_new_row_of_the_same_event(failed, demo):
    """
    The new row has the same event id and payload and no offset yet; the old one keeps its error.
    """
    again = NotificationOutbox.objects.get(pk=replay(failed.pk, by=demo, using=USING).pk)
    old = NotificationOutbox.objects.get(pk=failed.pk)
    assert (failed.event_id, failed.payload, None) == (again.event_id, again.payload, again.offset)
    assert ("failed", again, demo) == (old.state, old.replayed_as, old.replayed_by)
    assert "UnknownObjectTypeError" in old.error_type


@pytest.mark.parametrize("is_move", [False, True])
def test_of_a_move_is_one(failed, demo, is_move):
    """
    Announced again, it still says that what was before may not be for those who read it now.
    """
    NotificationOutbox.objects.filter(pk=failed.pk).update(is_move=is_move)
    again = replay(failed.pk, by=demo, using=USING)
    assert is_move is NotificationOutbox.objects.get(pk=again.pk).is_move


def test_is_published_with_a_new_offset(failed, demo, relay):
    """
    A replayed row goes the way of every row.
    """
    again = replay(failed.pk, by=demo, using=USING)
    relay.drain()
    again.refresh_from_db()
    assert ("published", failed.offset + 1) == (again.state, again.offset)


@pytest.mark.parametrize("which", ["twice", "pending", "gone"])
def test_refuses_what_is_not_a_failed_row(failed, demo, which):
    """
    A row that is not failed, was replayed before, or is gone, is refused in a sentence.
    """
    pk = failed.pk
    if which == "twice":
        replay(pk, by=demo, using=USING)
    elif which == "pending":
        pk = replay(pk, by=demo, using=USING).pk
    else:
        failed.delete()
    with pytest.raises(NotReplayableError, match=str(pk)):
        replay(pk, by=demo, using=USING)


def test_two_operators_at_once_replay_it_once(failed, demo, other):
    """
    Whoever comes second is refused.
    """
    barrier, outcomes = threading.Barrier(2), []

    def decide(user):
        barrier.wait()
        try:
            replay(failed.pk, by=user, using=USING)
            outcomes.append("replayed")
        except NotReplayableError:
            outcomes.append("refused")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=decide, args=(user,)) for user in (demo, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["refused", "replayed"] == sorted(outcomes)
    assert 1 == NotificationOutbox.objects.filter(event_id=failed.event_id, offset=None).count()
