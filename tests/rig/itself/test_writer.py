"""The fixtures of a run, and its writers: the ledger has exactly what was committed."""

import psycopg
import pytest
from channels.layers import get_channel_layer
from django.db import DataError, InterfaceError, OperationalError, connection

from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project
from tests.rig import ledger
from tests.rig.fixtures import prepare
from tests.rig.writer import TICKETS, Writer, is_away

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fixtures(db):
    """Three clients and a stranger, two projects with three tickets each; their creation is announced."""
    with connection.cursor() as cursor:
        cursor.execute(ledger.CREATE)
    yield prepare(3, 2, 3)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE rig_ledger")


def committed():
    with connection.cursor() as cursor:
        cursor.execute(ledger.READ)
        return ledger.committed(cursor.fetchall())


def announced(stream):
    """Return the titles that were announced to a stream after the fixtures."""
    rows = NotificationOutbox.objects.filter(stream=stream).exclude(payload__title="new")
    return [payload["title"] for payload in rows.order_by("id").values_list("payload", flat=True)]


def write(projects, *, batch, steps=40, is_plain=False):
    writer = Writer(projects, seed="1", batch=batch, is_plain=is_plain)
    for _ in range(steps):
        writer.step()
    return writer


def test_fixtures(fixtures):
    """
    Each client may see its collection and its ticket, the stranger neither; nothing is pending in the outbox.
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
def test_the_ledger_has_what_is_announced(fixtures, batch):
    """
    The same changes, by stream in the same order, of tickets old and new; rollbacks are in neither.
    """
    project = fixtures["projects"][0]
    writer = write([project], batch=batch)
    pks = Project.objects.get(pk=project).tickets.values_list("pk", flat=True)
    assert TICKETS <= len(pks)
    for stream in (f"project.tickets:{project}", *(f"ticket:{pk}" for pk in pks)):
        assert [c.content for c in committed() if stream in c.streams] == announced(stream)
    assert 0 < len(committed()) < writer.number


def test_the_plain_pattern_sends_before_the_commit(fixtures, settings):
    """
    To the ticket's group and the project's; also what is rolled back then.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    sent = get_channel_layer().sent
    sent.clear()
    writer = write(fixtures["projects"], batch=5, steps=20, is_plain=True)
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
def test_a_save_that_fails_is_no_absent_database(expected, error, cause):
    """
    What the database refuses is a save that failed, and counts; that it is killed does not.
    """
    raised = error("no")
    raised.__cause__ = cause
    assert expected is is_away(raised)
