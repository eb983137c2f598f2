"""A test that kills and freezes processes and servers at random under load: nothing is lost or reordered."""

import asyncio
import os
import random

from tests.rig.faults import Faults
from tests.waiting import wait_until

#: Each seed gives another history: `FAULTS_SEED=7 python -m pytest tests/rig`.
SEED = int(os.environ.get("FAULTS_SEED", "1"))
RATE, WRITERS = 20.0, 2
NAMES = (
    "kill_worker",
    "kill_worker",
    "freeze_worker",
    "kill_beat",
    "kill_redis",
    "kill_postgres",
    "kill_postgres",
)


def test_chaos(site):
    """
    Two writers commit and roll back while workers, beat, Redis and PostgreSQL are killed. All committed
    changes, and no others, are published in order, and no row fails. Changes of tickets that are gone before
    they are rendered become obsolete.
    """
    writers = [f"writer{number + 1}" for number in range(WRITERS)]
    projects = site.prepare(clients=0, projects=WRITERS, tickets=0)["projects"]
    for name, project in zip(writers, projects, strict=True):
        site.write(name, [project], rate=RATE, seed=f"{SEED}.{name}", batch=1)
    seed = f"{SEED}.{len(site.workers)}"
    names = random.Random(seed).sample(NAMES, len(NAMES))
    faults = Faults(site, names, seed, asyncio.Event(), [])
    for name in names:
        faults.cause_next()
        end = faults.history[-1].until
        wait_until(lambda: publishes_since(site, end), f"publishing goes on after {name}")  # noqa: B023
    wait_until(lambda: site.result().obsolete, "a ticket was deleted after its change")
    site.stop_writers(*writers)
    wait_until(site.is_drained, f"all is published after {names}")
    result = site.result()
    print(f"{len(site.workers)} workers, {names}: {result}")
    assert [] == result.errors, names
    assert result.changes > 0
    assert 0 == site.failed()
    assert [(0, 0)] == site.query(
        "SELECT count(failed_at), coalesce(max(attempts), 0) FROM pillarbox_notificationoutbox"
    )


def publishes_since(site, end):
    """Whether a row was published after a moment."""
    published = (
        "SELECT 1 FROM pillarbox_notificationoutbox WHERE published_at > to_timestamp(%s) LIMIT 1"
    )
    return site.query(published, [end])
