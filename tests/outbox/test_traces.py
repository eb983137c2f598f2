"""Events of one request have ids that begin alike."""

import logging
import uuid

import pytest

from apps.outbox.capture import Notification
from apps.outbox.models import NotificationOutbox
from apps.outbox.traces import new_event_id, traced
from apps.realtime.announce import announce


def test_ids_bear_the_mark_of_a_request():
    """
    The first two groups are the request's; the rest is of each event, and a UUID of version 4 as ever.
    """
    with traced("order-4711") as mark:
        one, other = new_event_id(), new_event_id()
    assert one != other
    assert {mark} == {str(each)[:13] for each in (one, other)}
    assert (4, uuid.RFC_4122) == (one.version, one.variant)
    assert mark != str(new_event_id())[:13]


@pytest.mark.parametrize("spelt", [str, lambda given: given.hex.upper()])
def test_the_mark_of_a_uuid_is_its_beginning(spelt):
    """
    Who looks for a request's own id finds its events, too.
    """
    given = uuid.uuid4()
    with traced(spelt(given)) as mark:
        assert str(given)[:13] == mark == str(new_event_id())[:13]


def test_marks_of_requests_within_requests_are_theirs():
    """
    The inner one ends with its block.
    """
    with traced("outer") as outer:
        with traced("inner") as inner:
            assert str(new_event_id()).startswith(inner)
        assert str(new_event_id()).startswith(outer)


def test_a_notification_made_by_hand_has_it():
    """
    Whoever makes one needs to know nothing of requests.
    """
    with traced("by hand!") as mark:
        notification = Notification(
            stream="a:1", event="X", object_type="a", object_id="1", payload="{}"
        )
    assert str(notification.event_id).startswith(mark)


@pytest.mark.django_db
@pytest.mark.usefixtures("empty_outbox")
def test_saves_and_announcements_bear_it(ticket, caplog):
    """
    What a request writes is found by its mark, in the outbox, and in a log that wants to know.
    """
    with traced("from afar") as mark, caplog.at_level(logging.DEBUG, "apps"):
        ticket.title = "Changed"
        ticket.save()
        announce(ticket, "EXPORT_DONE", {})
    found = {str(row.event_id) for row in NotificationOutbox.objects.all()}
    assert 2 == len(found)
    assert all(event_id.startswith(mark) for event_id in found)
    logged = {str(record.event_id) for record in caplog.records if record.action == "captured"}
    assert found == logged
