"""Tests of a relay that was stopped while it published; it doesn't take the pause for an outage."""

import json
import time

import psutil
import pytest

from apps.tickets.models import Ticket
from pillarbox.conf import PillarboxSettings
from pillarbox.models import NotificationOutbox
from tests.announcing import announce, offsets
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class StoppedRelay:
    """A process that drains the outbox once, and is stopped in the middle of its first batch."""

    def __init__(self, site, folder, **outbox):
        self.site, order = site, folder / "stop"
        order.touch()
        site.commands = {"relay": "exec python manage.py pillarbox drain"}
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.relay.stopping_settings",
            "STOP_FILE": str(order),
            "STOP_PILLARBOX": json.dumps(outbox),
        }
        site.launch("relay")
        self.process = psutil.Process(site.running["relay"].pid)
        wait_until(self.is_stopped, "the relay is stopped")
        self.since = time.monotonic()

    def is_stopped(self):
        self.site.check("relay")
        return self.process.status() == psutil.STATUS_STOPPED

    def stay_for(self, seconds):
        """Wait until the process has been stopped for so long."""
        wait_until(lambda: time.monotonic() - self.since > seconds, "the time has passed")

    def go_on(self):
        """Let the relay drain to its end; return its log."""
        self.site.resume("relay")
        assert 0 == self.site.running.pop("relay").wait(PATIENCE)
        return self.site.log("relay")


@pytest.fixture
def site(tmp_path):
    with Site(tmp_path) as site:
        yield site


def announced(ticket):
    """Commit rows that have their payload."""
    announce(ticket.pk, count=3)


def changed(ticket):
    """Commit rows of one stream that are rendered."""
    for number in range(3):
        Ticket.objects.filter(pk=ticket.pk).update(title=f"{number}")
    NotificationOutbox.objects.exclude(stream=f"ticket:{ticket.pk}").delete()


def outcomes():
    """Return state, attempts and claims of each row."""
    return [
        (row.state, row.attempts, row.claims) for row in NotificationOutbox.objects.order_by("id")
    ]


def test_an_answer_that_came_meanwhile_counts(site, tmp_path):
    """
    If Redis accepted the batch during the pause, it counts as published, and no outage is logged.
    """
    announce()
    relay = StoppedRelay(site, tmp_path, LOCK_IDLE_SECONDS=60)
    relay.stay_for(3 * PillarboxSettings().PUBLISH_SECONDS)
    said = relay.go_on()
    assert [("published", 0, 1)] == outcomes()
    assert "WARNING" not in said


@pytest.mark.parametrize("write", [announced, changed], ids=["announced", "rendered"])
def test_a_lost_lock_writes_nothing(write, site, tmp_path, ticket, relay, sent):
    """
    A relay that loses its shard during the pause leaves the rows as the other relay left them. It logs the
    lost lock, but no outage, and goes on.
    """
    write(ticket)
    stopped = StoppedRelay(site, tmp_path)
    wait_until(lambda: relay.drain().published, "another relay has taken over")
    assert [1, 2, 3] == offsets(sent, ticket.pk)
    said = stopped.go_on()
    assert [("published", 0, 2)] * 3 == outcomes()  # a stopped process looks dead
    assert "lost its lock" in said
    assert "away" not in said
