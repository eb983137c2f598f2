"""A relay that was stopped while it published doesn't take its own absence for anybody's failure."""

import json
import time

import psutil
import pytest

from apps.outbox.models import NotificationOutbox
from apps.realtime.conf import RealtimeSettings
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until
from tests.workers.announcing import announce, offsets

pytestmark = pytest.mark.django_db(transaction=True)


class StoppedRelay:
    """A process that drains the outbox once, and is stopped in the middle of its first batch."""

    def __init__(self, site, folder, **outbox):
        self.site, order = site, folder / "stop"
        order.touch()
        site.commands = {"relay": "exec python manage.py drain"}
        site.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.workers.stopping_settings",
            "STOP_FILE": str(order),
            "STOP_OUTBOX": json.dumps(outbox),
        }
        site.launch("relay")
        self.process = psutil.Process(site.running["relay"].pid)
        wait_until(self.is_stopped, "the relay is stopped")
        self.since = time.monotonic()

    def is_stopped(self):
        self.site.check("relay")
        return self.process.status() == psutil.STATUS_STOPPED

    def stay_for(self, seconds):
        """Return when the process has been stopped for so long."""
        wait_until(lambda: time.monotonic() - self.since > seconds, "the time has passed")

    def go_on(self):
        """Let the relay drain to its end; return what it said."""
        self.site.resume("relay")
        assert 0 == self.site.running.pop("relay").wait(PATIENCE)
        return self.site.log("relay")


@pytest.fixture
def site(tmp_path):
    with Site(tmp_path) as site:
        yield site


def outcomes():
    """Return state, attempts and claims of each row."""
    return [
        (row.state, row.attempts, row.claims) for row in NotificationOutbox.objects.order_by("id")
    ]


def test_an_answer_that_came_meanwhile_counts(site, tmp_path):
    """
    Redis took the row while the relay was stopped for longer than publishing may take: the row is published,
    no attempt is counted, and nothing is said to be away.
    """
    announce()
    relay = StoppedRelay(site, tmp_path, LOCK_IDLE_SECONDS=60)
    relay.stay_for(3 * RealtimeSettings().PUBLISH_SECONDS)
    said = relay.go_on()
    assert [("published", 0, 1)] == outcomes()
    assert "WARNING" not in said


def test_who_lost_the_lock_writes_nothing(site, tmp_path, relay, sent):
    """
    A relay that is stopped for longer than LOCK_IDLE_SECONDS loses the shard to another one; when it goes on,
    it leaves the rows as the other one left them, and says that it lost its lock, not that anything is away.
    """
    announce(count=3)
    stopped = StoppedRelay(site, tmp_path)
    wait_until(lambda: relay.drain().published, "another relay has taken over")
    assert [1, 2, 3] == offsets(sent, 1)
    said = stopped.go_on()
    assert [
        ("published", 0, 2)
    ] * 3 == outcomes()  # one death, since nobody knows that it was only stopped
    assert "lost its lock" in said
    assert "away" not in said
