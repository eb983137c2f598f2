"""Tests that kill or freeze a process at each step of a row: nothing is lost."""

import psycopg
import pytest

from config.embedded import postgres_url
from tests.rig.failpoints import (
    DIE_AFTER_PUBLISH,
    DIE_BEFORE_PUBLISH,
    DIE_BEFORE_WAKE_UP,
    DIE_WHILE_RENDERING,
    STOP,
    STOP_WHILE_RENDERING,
)
from tests.waiting import PATIENCE, wait_until

CONTENTS = [f"change {number}" for number in range(20)]
STREAMS = [f"ticket:{number}" for number in range(1, 9)]


def announce_all(site):
    for stream in STREAMS:
        site.announce(*CONTENTS, stream=stream)


def assert_complete(site):
    """Wait until all is published, and fail unless it is complete and in order. Returns the result."""
    wait_until(site.is_drained, "all is published")
    result = site.result()
    assert [] == result.errors
    print(f"The slowest publication took {result.worst_publication:.1f} s.")
    return result


def test_killed_between_commit_and_wake_up(site):
    """
    The sweep finds rows without a wake-up.
    """
    projects = site.prepare(clients=0, projects=1, tickets=0)["projects"]
    site.set_failpoint(DIE_BEFORE_WAKE_UP)
    site.write("writer1", projects, rate=10, seed="1", batch=1)
    assert -9 == site.running.pop("writer1").wait(PATIENCE)
    assert 1 == assert_complete(site).changes


@pytest.fixture
def ticket(site):
    """Return the ids of a ticket and its project."""
    site.prepare(clients=0, projects=1, tickets=1)
    return site.query("SELECT id, project_id FROM tickets_ticket")[0]


def claims(site):
    """Return the least and the most claims of the ticket's changes, and the most attempts."""
    return site.query(
        "SELECT min(claims), max(claims), max(attempts) FROM pillarbox_notificationoutbox"
        " WHERE event = 'UPDATE_TICKET'"
    )[0]


def waiting_worker(site, statement):
    """Return the name of a worker that waits for a lock in a statement like this, or ""."""
    found = site.query(
        "SELECT application_name FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE %s AND pid <> pg_backend_pid()",
        [statement],
    )
    return found[0][0] if found else ""


def kill_waiting_worker(site, statement):
    """Kill a worker as soon as it waits for a lock in a statement like this. Returns its name."""
    worker = wait_until(lambda: waiting_worker(site, statement), "a worker waits for the lock")
    site.kill(worker)
    return worker


def test_killed_while_it_claims_rows_to_render(site, ticket):
    """
    No row is claimed by the killed worker, so none counts its death.
    """
    with psycopg.connect(postgres_url(site.data_dir)) as blocker:
        blocker.execute("LOCK TABLE pillarbox_rendering IN SHARE MODE")
        site.change(*ticket, *CONTENTS)
        worker = kill_waiting_worker(site, "%UPDATE pillarbox_rendering AS held%")
    site.start(worker)
    assert_complete(site)
    assert (1, 1, 0) == claims(site)


def test_killed_while_it_renders(site, ticket):
    """
    If a worker dies in the project's code, another one renders its batch from the start.
    """
    site.set_failpoint(DIE_WHILE_RENDERING)
    site.change(*ticket, *CONTENTS)
    result = assert_complete(site)
    assert site.was_reached(DIE_WHILE_RENDERING)
    assert 0 == result.again
    assert (1, 0) == claims(site)[1:]


def test_killed_between_rendering_and_settling(site, ticket):
    """
    Rows that were rendered but not settled are rendered again, and published once.
    """
    site.set_failpoint(STOP_WHILE_RENDERING)
    site.change(*ticket, *CONTENTS)
    wait_until(lambda: site.was_reached(STOP_WHILE_RENDERING), "a worker renders")
    with psycopg.connect(postgres_url(site.data_dir)) as blocker:
        blocker.execute("SELECT FROM pillarbox_notificationoutbox FOR UPDATE")
        for worker in site.workers:
            site.resume(worker)
        worker = kill_waiting_worker(site, "%SET payload = done.payload%")
    site.start(worker)
    assert 0 == assert_complete(site).again
    assert (1, 0) == claims(site)[1:]


@pytest.mark.parametrize("names", [3], indirect=True, ids=["three workers"])
def test_frozen_while_it_renders(site, ticket):
    """
    Other workers render the batch meanwhile. The frozen worker's late result is dropped.
    """
    site.set_failpoint(STOP_WHILE_RENDERING)
    site.change(*ticket, *CONTENTS)
    wait_until(lambda: site.was_reached(STOP_WHILE_RENDERING), "a worker is frozen")
    site.change(*ticket, "during the stop")
    assert_complete(site)
    for worker in site.workers:
        site.resume(worker)
    site.change(*ticket, "after the stop")
    assert 0 == assert_complete(site).again


def test_killed_between_numbering_and_publishing(site):
    """
    Another worker publishes the batch of a dead one. Its rows count one more claim.
    """
    site.set_failpoint(DIE_BEFORE_PUBLISH)
    announce_all(site)
    result = assert_complete(site)
    assert site.was_reached(DIE_BEFORE_PUBLISH)
    assert 0 == result.again
    claims = dict(
        site.query("SELECT claims, count(*) FROM pillarbox_notificationoutbox GROUP BY 1")
    )
    assert {1, 2} == claims.keys()
    assert [(0,)] == site.query("SELECT max(attempts) FROM pillarbox_notificationoutbox")


def test_killed_between_publishing_and_settling(site):
    """
    Rows that were published but not settled are published again, at the same offsets.
    """
    site.set_failpoint(DIE_AFTER_PUBLISH)
    announce_all(site)
    result = assert_complete(site)
    assert site.was_reached(DIE_AFTER_PUBLISH)
    assert result.again > 0


def test_killed_while_it_prunes(site):
    """
    A batch of old rows is deleted completely or not at all. Failed and recent rows stay.
    """
    site.announce("young")
    wait_until(site.is_drained, "it is published")
    site.query(
        "INSERT INTO pillarbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id,"
        " payload, \"offset\", published_at, failed_at, error_type, claims) SELECT 'ticket:9', 0,"
        " gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '9', '{}', number,"
        " CASE WHEN number > 5 THEN now() - interval '1 year' END,"
        " CASE WHEN number <= 5 THEN now() - interval '1 year' END, 'E', 1"
        " FROM generate_series(1, 3005) AS number"
    )
    with psycopg.connect(postgres_url(site.data_dir)) as blocker:
        blocker.execute("LOCK TABLE pillarbox_notificationoutbox IN SHARE MODE")
        prune(site)
        worker = kill_waiting_worker(site, "%replayed_as_id = NULL%")
    assert [(3006,)] == site.query("SELECT count(*) FROM pillarbox_notificationoutbox")
    site.start(worker)
    prune(site)
    wait_until(lambda: not old(site), "all old rows are pruned")
    assert [(5, 1)] == site.query(
        "SELECT count(failed_at), count(published_at) FROM pillarbox_notificationoutbox"
    )


def prune(site):
    code = "from pillarbox.tasks import prune_outbox; prune_outbox.send_again()"
    site.manage("shell", "-v0", "-c", code)


def old(site):
    return site.query(
        "SELECT 1 FROM pillarbox_notificationoutbox WHERE published_at < now() - interval '1 day' LIMIT 1"
    )


@pytest.mark.parametrize("names", [3], indirect=True, ids=["three workers"])
def test_frozen_in_the_middle_of_a_batch(site):
    """
    A frozen worker loses its lock, and the others continue to number and publish.
    """
    site.set_failpoint(STOP)
    announce_all(site)
    wait_until(lambda: site.was_reached(STOP), "a worker is frozen")
    site.announce("during the stop", stream="ticket:10")
    assert_complete(site)
    for worker in site.workers:
        site.resume(worker)
    site.announce("after the stop")
    assert_complete(site)
