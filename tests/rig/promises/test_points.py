"""A process dies at each point where a row changes hands: nothing is lost."""

import psycopg
import pytest

from config.embedded import postgres_url
from tests.rig.orders import DIE_AFTER_PUBLISH, DIE_BEFORE_PUBLISH, DIE_BEFORE_WAKE_UP, STOP
from tests.rig.processes import PATIENCE, wait_until

CONTENTS = [f"change {number}" for number in range(20)]
STREAMS = [f"ticket:{number}" for number in range(1, 9)]


def announce_all(site):
    for stream in STREAMS:
        site.announce(*CONTENTS, stream=stream)


def assert_complete(site):
    """All that was committed is published, in order."""
    wait_until(site.is_drained, "all is published")
    result = site.result()
    assert [] == result.errors
    print(f"The slowest publication took {result.worst_publication:.1f} s.")
    return result


def test_after_the_commit_before_the_wake_up(site):
    """
    No worker was asked to look; the sweep finds the rows.
    """
    projects = site.prepare(clients=0, projects=1, tickets=0)["projects"]
    site.order(DIE_BEFORE_WAKE_UP)
    site.write("writer1", projects, rate=10, seed="1", batch=1)
    assert -9 == site.running.pop("writer1").wait(PATIENCE)
    assert 1 == assert_complete(site).changes


def test_after_the_numbers_before_the_publication(site):
    """
    A worker that dies with a batch in hand leaves it to the next one; each row has a claim more.
    """
    site.order(DIE_BEFORE_PUBLISH)
    announce_all(site)
    result = assert_complete(site)
    assert site.is_obeyed(DIE_BEFORE_PUBLISH)
    assert 0 == result.again
    claims = dict(site.query("SELECT claims, count(*) FROM outbox_notificationoutbox GROUP BY 1"))
    assert {1, 2} == claims.keys()
    assert [(0,)] == site.query("SELECT max(attempts) FROM outbox_notificationoutbox")


def test_after_the_publication_before_it_is_settled(site):
    """
    What was published and not recorded is published again, at the same offsets.
    """
    site.order(DIE_AFTER_PUBLISH)
    announce_all(site)
    result = assert_complete(site)
    assert site.is_obeyed(DIE_AFTER_PUBLISH)
    assert result.again > 0


def test_during_prune(site):
    """
    A batch of old rows goes whole or not at all; what is pending, failed or young stays.
    """
    site.announce("young")
    wait_until(site.is_drained, "it is published")
    site.query(
        "INSERT INTO outbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id,"
        " payload, \"offset\", published_at, failed_at, error_type, claims) SELECT 'ticket:9', 0,"
        " gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '9', '{}', number,"
        " CASE WHEN number > 5 THEN now() - interval '1 year' END,"
        " CASE WHEN number <= 5 THEN now() - interval '1 year' END, 'E', 1"
        " FROM generate_series(1, 3005) AS number"
    )
    with psycopg.connect(postgres_url(site.data_dir)) as blocker:
        blocker.execute("LOCK TABLE outbox_notificationoutbox IN SHARE MODE")
        prune(site)
        worker = wait_until(lambda: who_prunes(site), "a worker is in the middle of it")
        site.kill(worker)
    assert [(3006,)] == site.query("SELECT count(*) FROM outbox_notificationoutbox")
    site.start(worker)
    prune(site)
    wait_until(lambda: not old(site), "all that is old is pruned")
    assert [(5, 1)] == site.query(
        "SELECT count(failed_at), count(published_at) FROM outbox_notificationoutbox"
    )


def prune(site):
    code = "from workers.tasks import prune_outbox; prune_outbox.delay()"
    site.manage("shell", "-v0", "-c", code)


def who_prunes(site):
    """Return the name of the worker that waits to delete, if one does."""
    found = site.query(
        "SELECT application_name FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE '%replayed_as_id = NULL%'"
        " AND pid <> pg_backend_pid()"
    )
    return found[0][0] if found else ""


def old(site):
    return site.query(
        "SELECT 1 FROM outbox_notificationoutbox WHERE published_at < now() - interval '1 day' LIMIT 1"
    )


@pytest.mark.parametrize("names", [3], indirect=True, ids=["three workers"])
def test_stopped_in_the_middle_of_a_batch(site):
    """
    A worker that freezes with the lock loses it; numbering and publishing go on meanwhile.
    """
    site.order(STOP)
    announce_all(site)
    wait_until(lambda: site.is_obeyed(STOP), "a worker has stopped")
    site.announce("during the stop", stream="ticket:10")
    assert_complete(site)
    for worker in site.workers:
        site.resume(worker)
    site.announce("after the stop")
    assert_complete(site)
