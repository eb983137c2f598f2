"""Tests of Celery's pools: with three, workers deliver and report themselves; the others are refused."""

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from apps.tickets.models import Ticket
from pillarbox.layer.layers import notification_layer
from pillarbox.models import NotificationOutbox, Process
from pillarbox.types.groups import group_for, stream_for
from tests.communicators import in_thread
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TICKETS, SAVES = 10, 10


@pytest.fixture
def tickets(project):
    """Return tickets whose creation isn't in the outbox any more."""
    tickets = [Ticket.objects.create(project=project, title="New") for _ in range(TICKETS)]
    NotificationOutbox.objects.all().delete()
    return tickets


def choose(site, pool):
    """Give the site's worker another pool, with several threads or processes."""
    site.environment["WORKER_CONCURRENCY"] = "4"
    # By "env" it isn't a fork, which would have imported what gevent has to patch first.
    command = site.commands["worker"].replace("exec", "exec env", 1)
    site.commands["worker"] = f"{command} --pool {pool}"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
async def test_all_is_published_once(pool, site, tickets):
    """
    Each of 200 rows is published once, in the order of its stream, without a warning. The worker reports
    itself until SIGTERM ends it.
    """
    choose(site, pool)
    expected = {stream_for("ticket", ticket.pk): SAVES for ticket in tickets}
    expected[stream_for("project.tickets", tickets[0].project_id)] = TICKETS * SAVES
    await in_thread(site.start, "worker", "beat")
    layer, received = notification_layer(), defaultdict(list)
    channel = await layer.new_channel()
    for stream in expected:
        await layer.group_add(group_for(stream), channel)
    await in_thread(save_at_once, tickets)
    async with asyncio.timeout(PATIENCE):
        for _ in range(2 * TICKETS * SAVES):
            message = await layer.receive(channel)
            received[message["stream"]].append(message["offset"])
    assert {stream: [*range(1, last + 1)] for stream, last in expected.items()} == received
    await in_thread(wait_until, all_is_settled, "all is settled")
    assert "WARNING" not in site.log("worker")
    await in_thread(wait_until, workers, "the worker reports")
    process = site.running["worker"]
    process.terminate()
    assert 0 == await in_thread(process.wait, PATIENCE)
    assert [] == await in_thread(workers)
    for trouble in ("ERROR", "CRITICAL", "Traceback"):
        assert trouble not in site.log("worker")
    await layer.flush()


def save_at_once(tickets):
    """Save each ticket several times, in four threads."""

    def save(ticket):
        for number in range(SAVES):
            ticket.title = f"Number {number}"
            ticket.save()
        connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        for saved in threads.map(save, tickets):
            assert saved is None


def all_is_settled():
    rows = NotificationOutbox.objects.all()
    return {("published", 0, 1)} == {(row.state, row.attempts, row.claims) for row in rows}


def workers():
    return [*Process.objects.filter(kind="worker").values_list("name", flat=True)]


def test_other_pools_are_refused(site):
    """
    A worker with greenlets ends at its start, and its log names the pools that work.
    """
    choose(site, "gevent")
    site.launch("worker")
    assert 1 == site.running["worker"].wait(PATIENCE)
    assert "with --pool prefork, threads or solo" in site.log("worker")
    assert "Traceback" not in site.log("worker")


def test_other_queues_may_have_any_pool(site):
    """
    A worker that doesn't read our queue may have greenlets.
    """
    choose(site, "gevent")
    site.commands["worker"] += " --queues theirs"
    site.start("worker")
    site.kill("worker")  # gevent's pool takes seconds to end
