"""What the processes say of themselves, taken together."""

from datetime import UTC, datetime, timedelta

from apps.outbox.instances import ALIVE_SECONDS, Known
from apps.outbox.running import Running, running

NOW = datetime.now(UTC)


def instance(facts, silent=1.0, kind="worker"):
    return Known(name="x", kind=kind, started_at=NOW, silent_seconds=silent, facts=facts)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def worker(drained, silent=1.0, breaker=None):
    facts = {"at": ago(0), "since": ago(100), "breaker": breaker}
    return instance({**facts, "drained_at": None if drained is None else ago(drained)}, silent)


def test_nothing_runs():
    """
    Of nothing, nothing is known.
    """
    assert Running() == running([])


def test_the_best_of_the_workers_counts():
    """
    Somebody drained, when whoever did so last said it, by the clock of who said it.
    """
    found = running([worker(None), worker(30.0), worker(3.0, silent=2.0), worker(40.0)])
    assert (4, 5.0, None) == (found.workers, found.drained_seconds, found.breaker)


def test_who_has_not_drained_has_not_since_its_start():
    """
    A worker is given the time that it has run.
    """
    assert 101.0 == running([worker(None)]).drained_seconds
    assert 1.0 == running([instance({"drained_at": None})]).drained_seconds


def test_the_dead_say_nothing():
    """
    What somebody said who is gone does not count any more.
    """
    gone = worker(1.0, silent=ALIVE_SECONDS + 1, breaker="refused")
    assert Running() == running([gone])


def test_beats_and_daphnes():
    """
    Of all Daphnes the sockets are counted, and who is deaf; of beats, why the broker is away.
    """
    found = running(
        [
            instance({"swept_at": ago(2), "at": ago(0), "broker": "refused"}, kind="beat"),
            instance({"sockets": 2, "subscriptions": 5, "layer": "away"}, kind="daphne"),
            instance({"sockets": 1, "subscriptions": 1, "layer": "live"}, kind="daphne"),
            worker(1.0, breaker="no way"),
        ]
    )
    assert found == Running(
        workers=1,
        drained_seconds=2.0,
        breaker="no way",
        beats=1,
        swept_seconds=3.0,
        broker="refused",
        daphnes=2,
        deaf=1,
        sockets=3,
        subscriptions=6,
    )


def test_whoever_drains_without_beat_is_both():
    """
    `manage.py drain --forever` is worker and beat.
    """
    found = running([instance({"drained_at": ago(1), "swept_at": ago(1)})])
    assert (1, 1) == (found.workers, found.beats)
