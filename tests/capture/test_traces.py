"""Traces: event ids of one request have a common prefix."""

import logging
import uuid
from contextlib import nullcontext, suppress

import pytest
from django.db import transaction

from apps.tickets.models import Ticket
from pillarbox.capture.announce import announce
from pillarbox.capture.notification import Notification
from pillarbox.capture.traces import new_event_id, traced
from pillarbox.models import NotificationOutbox


def test_ids_bear_the_mark_of_a_request():
    """
    The first two groups are the request's; the rest differs, and it is a UUID of version 4.
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
    A search for the request's own id finds its events.
    """
    given = uuid.uuid4()
    with traced(spelt(given)) as mark:
        assert str(given)[:13] == mark == str(new_event_id())[:13]


def test_marks_of_requests_within_requests_are_theirs():
    """
    An inner request's mark ends with its block.
    """
    with traced("outer") as outer:
        with traced("inner") as inner:
            assert str(new_event_id()).startswith(inner)
        assert str(new_event_id()).startswith(outer)


def test_an_explicit_notification_has_it():
    """
    Explicit notifications get the mark automatically.
    """
    with traced("by hand!") as mark:
        notification = Notification(
            stream="a:1", event="X", object_type="a", object_id="1", payload="{}"
        )
    assert str(notification.event_id).startswith(mark)


@pytest.mark.django_db
@pytest.mark.usefixtures("empty_outbox")
class TestWrites:
    """Rows written by a request."""

    def test_have_its_mark(self, ticket):
        """
        Changes and explicit notifications of a request have its mark in the outbox.
        """
        with traced("from afar") as mark, transaction.atomic():
            ticket.title = "Changed"
            ticket.save()
            announce(ticket, "EXPORT_DONE", {})
        found = {str(row.event_id) for row in NotificationOutbox.objects.all()}
        assert 2 == len(found)
        assert all(event_id.startswith(mark) for event_id in found)

    def test_of_two_requests_in_one_transaction(self, ticket):
        """
        Each change has the mark of its own request.
        """
        marks = []
        with transaction.atomic():
            for title in "ab":
                with traced(title) as mark:
                    Ticket.objects.update(title=title)
                    marks.append(mark)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}").order_by("id")
        assert marks == [str(row.event_id)[:13] for row in rows]

    def test_beside_and_between_those_of_others(self, ticket):
        """
        Changes outside a request have no mark; a second part of the first request has the first
        mark.
        """
        with transaction.atomic():
            for name in ("one", "", "two", "one"):
                with traced(name) if name else nullcontext():
                    Ticket.objects.update(title=f"after {name} {uuid.uuid4()}")
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}").order_by("id")
        first, unmarked, second, again = (str(row.event_id)[:13] for row in rows)
        assert first == again
        assert 3 == len({first, unmarked, second})

    def test_after_a_rolled_back_savepoint(self, ticket):
        """
        A mark set in a rolled-back savepoint is set again.
        """
        with traced("from afar") as mark, transaction.atomic():
            with suppress(ZeroDivisionError), transaction.atomic():
                Ticket.objects.update(title="a")
                raise ZeroDivisionError
            Ticket.objects.update(title="b")
        assert {mark} == {str(row.event_id)[:13] for row in NotificationOutbox.objects.all()}

    def test_that_are_announced_are_logged(self, ticket, caplog):
        """
        Explicit notifications are logged at DEBUG level with their event id.
        """
        with traced("from afar") as mark, caplog.at_level(logging.DEBUG, "pillarbox"):
            announce(ticket, "EXPORT_DONE", {})
        (logged,) = [
            r.pillarbox_event_id for r in caplog.records if r.pillarbox_action == "captured"
        ]
        assert str(logged).startswith(mark)
