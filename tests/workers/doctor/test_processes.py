"""What the doctor says of workers, beat and Daphne, and of what flows between them."""

import re
import threading

import pytest

from tests.waiting import PATIENCE, wait_until
from workers import bell
from workers.app import app
from workers.doctor import flow, processes

from .asking import ago, falls_silent, found, lives, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


LOOKS = {
    "worker": processes.workers_live,
    "beat": processes.beat_lives,
    "daphne": processes.daphne_lives,
}


class TestProcesses:
    @pytest.mark.parametrize("kind", LOOKS)
    def test_nobody(self, kind):
        """
        Where nobody is, it is said whether somebody was.
        """
        assert [f"No {kind} is alive."] == found(LOOKS[kind]())
        falls_silent(kind)
        finding = one(LOOKS[kind]())
        words = rf"No {kind} is alive; the last was heard of (\d+) seconds ago"
        assert int(re.match(words, finding.what)[1]) >= 60
        assert finding.is_grave

    @pytest.mark.parametrize("kind", LOOKS)
    def test_one_of_two(self, kind):
        """
        One that is left suffices; the other one is named.
        """
        falls_silent(kind, name="a")
        lives(kind, name="b")
        finding = one(LOOKS[kind]())
        words = rf"Heard of in the last hour, and fell silent: {kind}@a \((\d+) s ago\)\."
        assert int(re.fullmatch(words, finding.what)[1]) >= 60
        assert not finding.is_grave
        sql("DELETE FROM outbox_instance WHERE name = %s", f"{kind}@a")
        assert [] == found(LOOKS[kind]())

    def test_workers_that_need_no_beat(self):
        """
        `drain --forever` sweeps by itself, and hears no bell.
        """
        lives("worker", swept_at=sql("SELECT now()")[0][0].isoformat(), drained_at=None)
        assert "none is needed" in processes.beat_lives()
        assert "nobody listens" in flow.bell_is_heard()
        assert [] == found(flow.beat_sweeps())


class TestFlow:
    def test_sound(self):
        """
        Who drained, swept and heard lately is well.
        """
        now = sql("SELECT now()")[0][0].isoformat()
        lives("worker", breaker=None, drained_at=now)
        lives("beat", broker=None, swept_at=now)
        lives("daphne", sockets=3, subscriptions=7, layer="live")
        assert [] == found(flow.workers_publish())
        assert [] == found(flow.beat_sweeps())
        assert "3 sockets with 7 subscriptions" == flow.sockets_hear()

    def test_who_has_just_begun(self):
        """
        Who has not had the time yet is well.
        """
        lives("worker", breaker=None, drained_at=None)
        lives("beat", broker=None, swept_at=None)
        assert [] == found(flow.workers_publish())
        assert [] == found(flow.beat_sweeps())

    @pytest.mark.parametrize(
        ("look", "kind", "fact", "words"),
        [
            (
                flow.workers_publish,
                "worker",
                "drained_at",
                r"No worker has drained for (\d+) seconds",
            ),
            (flow.beat_sweeps, "beat", "swept_at", r"hasn't swept for (\d+) seconds"),
        ],
    )
    def test_alive_and_idle(self, look, kind, fact, words):
        """
        Who lives, and hasn't done its work for a while, is found.
        """
        lives(kind, **{fact: ago(60)}, at=ago())
        assert int(re.search(words, one(look()).what)[1]) >= 60

    @pytest.mark.parametrize(
        ("look", "kind", "fact"),
        [(flow.workers_publish, "worker", "drained_at"), (flow.beat_sweeps, "beat", "swept_at")],
    )
    def test_of_another_host_whose_clock_is_wrong(self, look, kind, fact):
        """
        Its moments are compared with each other, as on the dashboard, not with this host's clock.
        """
        lives(kind, **{fact: ago(601)}, at=ago(600))
        assert [] == found(look())
        lives(kind, **{fact: ago(-540)}, at=ago(-600))
        assert 60 <= int(re.search(r"(\d+) seconds", one(look()).what)[1]) < 300

    @pytest.mark.parametrize(
        ("look", "kind", "facts", "words"),
        [
            (flow.workers_publish, "worker", {"breaker": "refused"}, "publishes nothing: refused"),
            (flow.beat_sweeps, "beat", {"broker": "refused"}, "can't reach the broker: refused"),
            (flow.sockets_hear, "daphne", {"layer": "away"}, "does not hear the channel layer"),
        ],
    )
    def test_alive_and_cut_off(self, look, kind, facts, words):
        """
        Who can't reach what this host can is named.
        """
        lives(kind, name="far-away", **facts)
        finding = one(look())
        assert "far-away" in finding.what
        assert words in finding.what

    def test_the_bell(self, monkeypatch):
        """
        Somebody who clears it has heard it; where nobody does, it is found.
        """
        lives("worker")
        bell.clear()
        worker = threading.Thread(target=clear_when_it_rings)
        worker.start()
        monkeypatch.setattr(flow, "HEARD_SECONDS", PATIENCE)
        assert "a worker came" in flow.bell_is_heard()
        worker.join()
        monkeypatch.setattr(flow, "HEARD_SECONDS", 0.1)
        finding = one(flow.bell_is_heard())
        bell.clear()
        with app.pool.acquire(block=True) as broker:
            app.amqp.queues["outbox"](broker.default_channel).purge()
        assert "no worker came" in finding.what


def clear_when_it_rings():
    """Do as a worker does that hears the bell."""
    wait_until(bell.is_ringing, "the bell rings")
    bell.clear()
