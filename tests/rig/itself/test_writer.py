"""Tests of fixtures and writers: the ledger has exactly the committed changes."""

import psycopg
import pytest
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import DataError, InterfaceError, OperationalError, connection

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.rendering import render_all
from tests.rig import ledger
from tests.rig.fixtures import guests_of, prepare
from tests.rig.history import content_of
from tests.rig.writer import TICKETS, Writer, is_away

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fixtures(db):
    """
    Return three clients, four guests and a stranger, and two projects with three tickets each, all
    announced.
    """
    with connection.cursor() as cursor:
        cursor.execute(ledger.CREATE)
    yield prepare(3, 2, 3, guests=4)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE rig_ledger")


def committed():
    with connection.cursor() as cursor:
        cursor.execute(ledger.READ)
        return ledger.committed(cursor.fetchall())


def announced(stream):
    """Return the contents announced on a stream after the fixtures; None for obsolete rows."""
    rows = NotificationOutbox.objects.filter(stream=stream).order_by("id")
    found = [content_of(payload) for payload in rows.values_list("payload", flat=True)]
    return [content for content in found if content != "new"]


def write(projects, *, batch, steps=40, is_plain=False):
    writer = Writer(projects, seed="1", batch=batch, is_plain=is_plain)
    for _ in range(steps):
        writer.step()
    return writer


def test_fixtures(fixtures):
    """
    Each client may see its collection and its ticket, the stranger neither. No row is pending.
    """
    assert 2 == len(fixtures["projects"])
    for listener in fixtures["listeners"]:
        user = listener["name"]
        seen = Project.objects.filter(members__username=user).count()
        assert (1 if listener["is_allowed"] else 0) == seen
        assert ["project.tickets", "ticket"] == [name for name, _, _ in listener["subjects"]]
    assert ["stranger"] == [one["name"] for one in fixtures["listeners"] if not one["is_allowed"]]
    assert not NotificationOutbox.objects.filter(published_at=None).exists()


@pytest.mark.parametrize("batch", [1, 7])
def test_the_ledger_has_the_announced_changes(fixtures, batch):
    """
    Ledger and outbox have the same changes of old, new and moved tickets, in the same order by stream. None
    has changes that were rolled back.
    """
    projects = fixtures["projects"]
    writer = write(projects, batch=batch, steps=200)
    render_all()
    assert TICKETS <= Ticket.objects.filter(project__in=projects).count()
    assert NotificationOutbox.objects.filter(event="UPDATE_TICKET", is_move=True).exists()
    found = committed()
    streams = {stream for change in found for stream in change.streams}
    obsolete = 0
    for stream in streams:
        contents = [change.content for change in found if stream in change.streams]
        seen = announced(stream)
        assert contents == [one or due for one, due in zip(seen, contents, strict=True)]
        obsolete += seen.count(None)
    assert obsolete > 0
    assert 0 < len(found) < writer.number


@pytest.mark.parametrize("batch", [1, 7])
def test_the_ledger_has_the_guests_without_the_right(fixtures, batch):
    """
    The ledger names the guests who are no members when a change is committed. Others remain members.
    """
    project, _ = fixtures["projects"]
    members = Project.objects.get(pk=project).members
    guests = dict(
        get_user_model().objects.filter(last_name=guests_of(project)).values_list("pk", "username")
    )
    assert set(guests.values()) <= {one["name"] for one in fixtures["listeners"] if one["is_guest"]}
    others = set(members.values_list("pk", flat=True)) - guests.keys()
    writer = Writer([project], seed="1", batch=batch, is_plain=False)
    for _ in range(40):
        before = len(committed())
        writer.step()
        inside = set(members.values_list("pk", flat=True))
        outside = {name for pk, name in guests.items() if pk not in inside}
        assert all(outside == set(change.hidden_from) for change in committed()[before:])
    assert others <= inside
    assert 2 <= len({change.hidden_from for change in committed()})


def test_the_plain_pattern_sends_before_the_commit(fixtures, settings):
    """
    Messages go to the ticket's group and the project's, even if the transaction is rolled back later.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    sent = get_channel_layer().sent
    sent.clear()
    writer = write(fixtures["projects"], batch=5, steps=40, is_plain=True)
    assert 2 * writer.number == len(sent) > 2 * len(committed())
    (ticket, message), (project, _) = sent[:2]
    assert ("ticket", "project.tickets") == (ticket.rpartition(".")[0], project.rpartition(".")[0])
    assert (ticket, f"{writer.mark} 1") == (message["group"], message["payload"]["title"])


@pytest.mark.parametrize(
    ("expected", "error", "cause"),
    [
        (True, OperationalError, psycopg.OperationalError()),
        (True, OperationalError, psycopg.errors.AdminShutdown()),
        (True, OperationalError, psycopg.errors.CannotConnectNow()),
        (True, InterfaceError, psycopg.InterfaceError()),
        (False, OperationalError, psycopg.errors.DiskFull()),
        (False, OperationalError, psycopg.errors.DeadlockDetected()),
        (False, DataError, psycopg.DataError()),
        (False, ValueError, None),
    ],
)
def test_failed_saves_are_told_from_an_absent_database(expected, error, cause):
    """
    A save that the database refuses counts as failed; a save while the database is down does not.
    """
    raised = error("no")
    raised.__cause__ = cause
    assert expected is is_away(raised)
