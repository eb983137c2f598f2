"""The summary of the processes' reports."""

from datetime import UTC, datetime, timedelta

from pillarbox.monitoring.process_summary import ProcessSummary, summarise
from pillarbox.monitoring.processes import ALIVE_SECONDS, ProcessReport

NOW = datetime.now(UTC)


def process(facts, silent=1.0, kind="worker"):
    return ProcessReport(name="x", kind=kind, started_at=NOW, silent_seconds=silent, facts=facts)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def worker(drained, silent=1.0, breaker=None):
    facts = {"at": ago(0), "since": ago(100), "breaker": breaker}
    return process({**facts, "drained_at": None if drained is None else ago(drained)}, silent)


def test_nothing_runs():
    """
    Without processes the summary is empty.
    """
    assert ProcessSummary() == summarise([])


def test_the_best_of_the_workers_counts():
    """
    The latest drain of any worker counts, by that worker's clock until its report.
    """
    found = summarise([worker(None), worker(30.0), worker(3.0, silent=2.0), worker(40.0)])
    assert (4, 5.0, {}) == (found.workers, found.drained_seconds, found.breakers)


def test_without_a_drain_the_start_counts():
    """
    For a worker that hasn't drained yet, the time since its start counts.
    """
    assert 101.0 == summarise([worker(None)]).drained_seconds
    assert 1.0 == summarise([process({"drained_at": None})]).drained_seconds


def test_gone_processes_do_not_count():
    """
    The facts of a process that is gone are ignored.
    """
    gone = worker(1.0, silent=ALIVE_SECONDS + 1, breaker="refused")
    assert ProcessSummary() == summarise([gone])


def test_beats_and_daphnes():
    """
    Sockets of all Daphnes are summed up. Processes without the layer or the broker are named, with their
    errors.
    """
    found = summarise(
        [
            process({"swept_at": ago(2), "at": ago(0), "broker": "refused"}, kind="beat"),
            process({"sockets": 2, "subscriptions": 5, "layer": "away"}, kind="daphne"),
            process({"sockets": 1, "subscriptions": 1, "layer": "live"}, kind="daphne"),
            worker(1.0, breaker="no way"),
        ]
    )
    assert found == ProcessSummary(
        workers=1,
        drained_seconds=2.0,
        breakers={"x": "no way"},
        beats=1,
        swept_seconds=3.0,
        brokers={"x": "refused"},
        daphnes=2,
        without_layer=("x",),
        sockets=3,
        subscriptions=6,
    )


def test_run_is_worker_and_beat():
    """
    `manage.py pillarbox run` counts as worker and beat.
    """
    found = summarise([process({"drained_at": ago(1), "swept_at": ago(1)})])
    assert (1, 1) == (found.workers, found.beats)
