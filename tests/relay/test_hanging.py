"""Tests of rows whose rendering kills or hangs their worker: they fail, and other rows go on."""

import json

import pytest

from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox
from pillarbox.stream.batch_sizes import FORGIVEN_DEATHS
from tests.communicators import subject
from tests.processes import Site
from tests.server.test_stopped_daphne import Client
from tests.waiting import PATIENCE, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_outbox"),
]
#: The last output of the process: a line of its log or, if no thread can run, faulthandler's output.
HANGS, HELD = "Rendering hangs: this process ends", "Timeout (0:00:02.500000)!"
DIED = "pillarbox.exceptions.WorkerDiedError"
#: With this, Daphne renders rows that no worker has rendered after a fifth of a second.
LIMITS = {"RENDER_SECONDS": 0.5, "MAX_ATTEMPTS": 1, "POSITION_CHECK_SECONDS": 0.5}


@pytest.fixture
def site(tmp_path):
    """A site whose tickets hang, block or kill the process that renders them."""
    with Site(tmp_path) as site:
        site.commands["drain"] = "exec python manage.py pillarbox run"
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.relay.trouble.settings",
            "TROUBLE_PILLARBOX": json.dumps(LIMITS),
        }
        yield site


@pytest.fixture
def change(ticket, execute):
    """
    Return a function that changes a ticket to a title, and another one harmlessly; it returns their streams.

    The first one's row has no deaths left: the next one fails it.
    """

    def change(title):
        other = Ticket.objects.create(project=ticket.project, title="old")
        NotificationOutbox.objects.all().delete()
        for pk, new in ((ticket.pk, title), (other.pk, "good")):
            execute("UPDATE tickets_ticket SET title = %s WHERE id = %s", new, pk)
        streams = [f"ticket:{ticket.pk}", f"ticket:{other.pk}"]
        NotificationOutbox.objects.exclude(stream__in=streams).delete()
        NotificationOutbox.objects.filter(stream=streams[0]).update(claims=FORGIVEN_DEATHS)
        return streams

    return change


def states():
    return dict(NotificationOutbox.objects.values_list("stream", "error_type"))


def is_settled():
    return not NotificationOutbox.objects.pending().exists()


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("hangs", {HANGS, HELD}),  # on a slow machine faulthandler is first
        ("holds the interpreter", {HELD}),
        ("ends its process", set()),
    ],
)
def test_a_process_ends_with_its_row(site, change, title, said):
    """
    The process ends; the next one counts the death, fails the row and publishes the rest.
    """
    bad, good = change(title)
    site.launch("drain")
    assert 1 == site.running.pop("drain").wait(PATIENCE)
    found = {line for line in (HANGS, HELD) if line in site.log("drain")}
    assert found <= said
    assert bool(found) == bool(said)
    site.launch("drain")
    wait_until(is_settled, "all is settled")
    assert {bad: DIED, good: ""} == states()
    site.check("drain")


def test_a_row_hangs_from_its_first_batch_on(site, change):
    """
    Each death is counted. Rows of the same batch are published after a few; the row itself fails after many.
    """
    bad, good = change("hangs")
    NotificationOutbox.objects.update(claims=0, shard=3)
    site.environment["TROUBLE_PILLARBOX"] = json.dumps({**LIMITS, "BATCH_ROWS": 16})
    deaths = 0
    while NotificationOutbox.objects.pending().filter(stream=good).exists():
        site.launch("drain")
        assert 1 == site.running.pop("drain").wait(PATIENCE)
        deaths += 1
    assert 1 < deaths < FORGIVEN_DEATHS
    counted = {deaths - 1, deaths}  # the next batch counts the last one
    assert {
        *NotificationOutbox.objects.filter(stream=bad).values_list("claims", flat=True)
    } <= counted
    NotificationOutbox.objects.filter(stream=bad).update(claims=FORGIVEN_DEATHS)
    site.launch("drain")
    wait_until(is_settled, "all is settled")
    assert {bad: DIED, good: ""} == states()
    site.check("drain")


def test_a_worker_outlives_its_children(site, change):
    """
    Celery replaces a child process that a row has ended.
    """
    bad, good = change("hangs")
    site.start("worker", "beat")
    wait_until(is_settled, "all is settled")
    assert {bad: DIED, good: ""} == states()
    assert "pillarbox_object_types=['ticket'] pillarbox_rows=1" in site.log("worker")
    assert "in payload" in site.log("worker")


def test_daphne_dies_once_at_most(site, demo, ticket, change):
    """
    Without workers Daphne renders, but leaves a row that killed it to the workers.
    """
    _, good = change("ends its process")
    NotificationOutbox.objects.filter(stream=good).delete()  # Daphne may render it before it dies
    NotificationOutbox.objects.update(claims=0)
    other = Ticket.objects.get(title="good")
    site.start("daphne")
    with Client(site, demo):
        assert 1 == site.running.pop("daphne").wait(PATIENCE)
    site.start("daphne")
    with Client(site, demo) as client:
        client.ask(subject(other))
        client.receive("subscribed")
        Ticket.objects.filter(pk=other.pk).update(title="better")
        assert "better" == client.receive("UPDATE_TICKET")["payload"]["title"]
        wait_until(lambda: has_died(ticket), "a death is counted")
        client.ask(subject(ticket))
        client.receive("subscribed")
        assert client.is_served()


def has_died(ticket):
    rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", payload__isnull=True)
    return [1] == list(rows.values_list("claims", flat=True))
