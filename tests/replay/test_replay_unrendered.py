"""Replays of rows whose rendering failed: they have no payload, and are rendered again."""

import pytest
from django.db import DEFAULT_DB_ALIAS

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.muting import muted
from pillarbox.models import NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.preview import preview
from pillarbox.replay.replay import BatchOutcome, carry_out
from pillarbox.types.registry import register, unregister
from tests.rendering import number_all, render_all

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


def _broken(self, instance):
    raise RuntimeError("It is broken.")


@pytest.fixture
def failing(settings, empty_outbox):
    """Return a function that makes a type's serializer raise, and returns the rows that fail."""

    def failing(kind):
        unregister(kind.name)
        register(type("Broken", (kind,), {"payload": _broken}))
        try:
            number_all()
        finally:
            unregister(kind.name)
            register(kind)
        return NotificationOutbox.objects.failed().order_by("pk")

    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
    return failing


@pytest.fixture
def replayed(demo):
    """Return a function that replays rows, and returns how many were announced, and the new rows."""

    def replayed(rows, **values):
        criteria = Criteria.parse({"pks": [row.pk for row in rows]})
        last = last_pk(using=USING)
        replay = decide(criteria, by=demo, reason="fixed", last=last, using=USING, **values)
        assert BatchOutcome.OVER is carry_out(replay.pk, using=USING)
        replay.refresh_from_db()
        return replay.announced, NotificationOutbox.objects.filter(pk__gt=last).order_by("pk")

    return replayed


@pytest.fixture
def changes(failing, ticket):
    """Return the failed rows of a ticket's change; the title has changed again since."""
    ticket.title = "Recorded"
    ticket.save()
    failed = list(failing(TicketType))
    with muted():
        Ticket.objects.update(title="Current")
    return failed


@pytest.fixture
def touches(failing, project, other):
    """Return the failed row, without image, of a change of a project's members."""
    project.members.add(other)
    NotificationOutbox.objects.filter(object_type="rights").delete()
    return list(failing(ProjectType))


def titles(rows):
    return [row.payload["title"] for row in rows]


def test_as_recorded_it_shows_the_image(changes, replayed):
    """
    The new rows take over event id and image; the old ones keep their errors, but no image.
    """
    assert [True, True] == [row.image is not None for row in changes]
    announced, new = replayed(changes)
    render_all()
    assert (2, ["Recorded"] * 2) == (announced, titles(new))
    for row, again in zip(changes, new, strict=True):
        row.refresh_from_db()
        assert (row.event_id, row.stream, row.pk) == (again.event_id, again.stream, again.repeats)
        assert (None, again) == (row.image, row.replayed_as)
        assert (None, "builtins.RuntimeError") == (row.payload, row.error_type)


def test_as_current_state(changes, replayed):
    """
    The present state is announced, and the old rows keep no image.
    """
    announced, new = replayed(changes, is_current=True)
    render_all()
    assert (2, ["Current"] * 2) == (announced, titles(new))
    assert not NotificationOutbox.objects.filter(image__isnull=False).exists()


def test_it_is_numbered_and_published(changes, replayed, relay):
    """
    A relay handles the new rows like any other.
    """
    _, new = replayed(changes)
    assert 2 == relay.drain().published
    assert [2, 2] == [row.offset for row in new]


def test_a_row_that_fails_again_is_replayed_again(changes, replayed, failing):
    """
    A serializer may be fixed in several steps; the image passes from row to row.
    """
    replayed(changes)
    failing(TicketType)
    again = NotificationOutbox.objects.unreplayed().order_by("pk")
    announced, new = replayed(list(again))
    render_all()
    assert (2, ["Recorded"] * 2) == (announced, titles(new))


def test_without_image_it_shows_the_object_as_it_is(touches, replayed):
    """
    Rows without an image are rendered from the object's state at the time of rendering.
    """
    (row,) = touches
    assert row.image is None
    announced, new = replayed(touches)
    with muted():
        Project.objects.update(name="Current")
    render_all()
    assert (1, ["Current"]) == (announced, [each.payload["name"] for each in new])


def test_several_of_one_object(project, failing, touches, replayed, demo):
    """
    Replays of similar rows are all kept, because the replayed rows refer to them.
    """
    project.members.remove(demo)
    NotificationOutbox.objects.filter(object_type="rights").delete()
    both = list(failing(ProjectType))
    announced, new = replayed(both, with_superseded=True)
    render_all()
    assert (2, 2) == (announced, new.filter(payload__isnull=False).count())


def test_its_object_is_gone_when_it_is_rendered(touches, replayed, project):
    """
    The new row becomes obsolete, and the old one still refers to it.
    """
    ((row,), (announced, new)) = touches, replayed(touches)
    with muted():
        project.delete()
    render_all()
    row.refresh_from_db()
    assert (1, [(None, False)]) == (
        announced,
        [(each.payload, each.obsolete_at is None) for each in new],
    )
    assert row.replayed_as == new.get()


def test_a_row_about_all_streams_that_killed_its_workers(failing, ticket, replayed):
    """
    A row that failed before it was copied to the object's other streams is copied by its replay.
    """
    ticket.title = "Changed"
    ticket.save()
    row = NotificationOutbox.objects.get(stream=f"ticket:{ticket.pk}")
    NotificationOutbox.objects.exclude(pk=row.pk).delete()
    NotificationOutbox.objects.update(image=None, is_everywhere=True)
    (row,) = failing(TicketType).filter(pk=row.pk)
    NotificationOutbox.objects.exclude(pk=row.pk).delete()
    gone = "project.tickets:0"
    NotificationOutbox.objects.update(is_everywhere=True, left_streams=[gone])
    announced, new = replayed([row])
    render_all()
    assert 1 == announced
    assert {f"ticket:{ticket.pk}", f"project.tickets:{ticket.project_id}", gone} == {
        each.stream for each in new
    }


def test_an_obsolete_row_is_not_sent_again(ticket, empty_outbox, replayed, relay):
    """
    An obsolete row has nothing to show and can't be resent.
    """
    ticket.title = "Changed"
    ticket.save()
    with muted():
        ticket.delete()
    relay.drain()
    rows = NotificationOutbox.objects.exclude(obsolete_at=None)
    assert {"obsolete"} == {row.state for row in rows}
    announced, new = replayed(rows, is_resend=True, is_current=True)
    assert (0, []) == (announced, list(new))


def test_the_preview_shows_both_ways(changes):
    """
    The preview offers both ways before the decision.
    """
    criteria = Criteria.parse({"pks": [row.pk for row in changes]})
    found = preview(criteria, is_resend=False, using=USING)
    assert ({"": 2}, {"": 2}) == (found.recorded, found.current)
