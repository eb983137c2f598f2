"""What a run begins with, and what its writers do: the ledger knows exactly what was committed."""

import psycopg
import pytest
from channels.layers import get_channel_layer
from django.db import DataError, InterfaceError, OperationalError, connection

from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project
from config.verify.prepare import TICKETS, prepare
from config.verify.writer import Writer, is_away

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cast():
    """Three clients and a stranger, two projects; their creation is announced."""
    yield prepare(3, 2)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE verify_ledger")


def ledger():
    with connection.cursor() as cursor:
        cursor.execute("SELECT ticket, content FROM verify_ledger ORDER BY id")
        return cursor.fetchall()


def titles(stream):
    rows = NotificationOutbox.objects.filter(stream=stream, event="UPDATE_TICKET").order_by("id")
    return [payload["title"] for payload in rows.values_list("payload", flat=True)]


def test_who_and_what_there_is(cast):
    """
    Each client may see its collection and its ticket, the stranger neither; nothing waits in the outbox.
    """
    assert [2 * TICKETS, 2] == [len(cast["streams"]), len(cast["projects"])]
    for listener in cast["listeners"]:
        user = listener["name"]
        seen = Project.objects.filter(members__username=user).count()
        assert (1 if listener["is_allowed"] else 0) == seen
        assert ["project.tickets", "ticket"] == [name for name, _ in listener["subjects"]]
    assert ["stranger"] == [one["name"] for one in cast["listeners"] if not one["is_allowed"]]
    assert not NotificationOutbox.objects.filter(published_at=None).exists()


@pytest.mark.parametrize("batch", [1, 7])
def test_the_ledger_has_what_is_announced(cast, batch):
    """
    The same changes, by ticket in the same order; what is rolled back is in neither.
    """
    pks = cast["projects"][0]
    writer = Writer(pks, seed="1", batch=batch, is_plain=False)
    for _ in range(40):
        writer.step()
    for pk in pks:
        assert [content for ticket, content in ledger() if ticket == pk] == titles(f"ticket:{pk}")
    assert 0 < len(ledger()) < writer.number


def test_the_plain_pattern_sends_before_the_commit(cast, settings):
    """
    To the ticket's group and the project's; also what is rolled back then.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    sent = get_channel_layer().sent
    sent.clear()
    writer = Writer(cast["projects"][0], seed="1", batch=5, is_plain=True)
    for _ in range(20):
        writer.step()
    assert 2 * writer.number == len(sent) > 2 * len(ledger())
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
