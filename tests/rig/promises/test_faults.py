"""Tests of faults other than a worker's sudden death."""

import pytest

from tests.rig.failpoints import AWAY, HANG, POISON, SLOW
from tests.waiting import wait_until

#: One worker is enough: these tests look at what each worker does.
pytestmark = pytest.mark.parametrize("names", [1], indirect=True, ids=["one worker"])

STREAMS = [f"ticket:{number}" for number in range(1, 9)]
POISONED = f"WHERE payload->>'title' = 'a {POISON}' AND published_at IS NULL"


def pending(site):
    ((rows,),) = site.query(
        "SELECT count(*) FROM pillarbox_notificationoutbox WHERE published_at IS NULL"
    )
    return rows


def test_a_stopped_worker_finishes_its_batch(site):
    """
    On SIGTERM, a worker with a long backlog settles its batch and ends with exit code 0.
    """
    site.set_failpoint(SLOW)
    for number in range(1, 101):
        site.announce("a", "b", stream=f"ticket:{number}")
    worker = site.running["worker1"]
    wait_until(lambda: 0 < pending(site) < 200, "it is publishing")
    site.stop("beat")
    site.stop("worker1")
    assert 0 == worker.returncode
    assert [(0,)] == site.query("SELECT coalesce(sum(cardinality(rows)), 0) FROM pillarbox_claim")
    assert [(0,)] == site.query(
        "SELECT count(*) FROM pillarbox_notificationoutbox WHERE claims > 0 AND published_at IS NULL"
    )
    site.clear_failpoint(SLOW)
    site.start("worker1", "beat")
    wait_until(site.is_drained, "the rest is published")
    result = site.result()
    assert ([], 0) == (result.errors, result.again)


@pytest.mark.parametrize("outage", [AWAY, HANG])
def test_an_absent_layer_is_noticed_once(site, outage):
    """
    While the layer is away, rows are numbered and stay pending, without attempts. One line is logged.
    """
    site.set_failpoint(outage)
    lines = site.log("worker1").count("The channel layer is away")
    for stream in STREAMS:
        site.announce("a", stream=stream)
    numbered = 'SELECT 1 FROM pillarbox_notificationoutbox WHERE "offset" IS NULL'
    wait_until(lambda: not site.query(numbered), "all is numbered")
    site.announce("b")
    wait_until(lambda: not site.query(numbered), "later rows are numbered, too")
    site.clear_failpoint(outage)
    wait_until(site.is_drained, "all is published")
    assert [] == site.result().errors
    assert [(0, 1)] == site.query(
        "SELECT max(attempts), max(claims) FROM pillarbox_notificationoutbox"
    )
    assert lines + 1 == site.log("worker1").count("The channel layer is away")


def test_only_the_row_that_kills_its_worker_fails(site):
    """
    One of two hundred rows kills each worker. It fails, with a cause; the others are published long before.
    """
    for stream in STREAMS:
        contents = [f"change {number}" for number in range(25)]
        if stream == STREAMS[3]:
            contents[12] = f"a {POISON}"
        site.announce(*contents, stream=stream)
    wait_until(
        lambda: site.query(f"SELECT 1 FROM pillarbox_notificationoutbox {POISONED} AND claims > 4"),
        "it is claimed alone",
    )
    # Skip most of the retries, which would take a minute.
    site.query(f"UPDATE pillarbox_notificationoutbox SET claims = 13, attempts = 3 {POISONED}")
    wait_until(site.is_drained, "all are published or failed")
    ((stream, error, attempts),) = site.query(
        "SELECT stream, error_type, attempts FROM pillarbox_notificationoutbox"
        " WHERE failed_at IS NOT NULL"
    )
    assert (STREAMS[3], "pillarbox.exceptions.WorkerDiedError", 5) == (stream, error, attempts)
    ((others, last),) = site.query(
        "SELECT extract(epoch FROM max(published_at) FILTER (WHERE stream <> %(poisoned)s)),"
        " extract(epoch FROM max(failed_at)) FROM pillarbox_notificationoutbox",
        {"poisoned": STREAMS[3]},
    )
    print(f"the others were done {last - others:.1f} s before the poison row failed")
    assert others < last
    missing = [f"{STREAMS[3]} never published 13", f"{STREAMS[3]} lacks 'a {POISON}'"]
    assert [f"lost: {one}" for one in missing] == site.result().errors


def test_the_queue_does_not_grow_while_workers_are_away(site):
    """
    Sweeps, prunes and wake-ups leave only a few messages, however long no worker runs.
    """
    projects = site.prepare(clients=0, projects=1, tickets=0)["projects"]
    site.stop("worker1")
    site.write("writer1", projects, rate=50, seed="1", batch=1)
    first = waiting_after_a_sweep(site)
    last = [waiting_after_a_sweep(site) for _ in range(2)][-1]
    site.stop_writers("writer1")
    assert 1 <= last <= max(first, 2)
    site.start("worker1")
    wait_until(site.is_drained, "all is published")
    assert [] == site.result().errors


def waiting_after_a_sweep(site):
    """Wait until more is committed and beat has swept. Return the number of messages in the queue."""
    before = len(site.committed())
    wait_until(lambda: len(site.committed()) > before + 30, "more is committed")
    swept = last_sweep(site)
    wait_until(lambda: last_sweep(site) > swept, "beat sweeps")
    return site.waiting()


def last_sweep(site):
    """Return the time of beat's last sweep, as it has reported it."""
    ((at,),) = site.query(
        "SELECT coalesce(max(facts->>'swept_at'), '') FROM pillarbox_process WHERE kind = 'beat'"
    )
    return at
