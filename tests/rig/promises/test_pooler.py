"""Behind PgBouncer: in transaction mode each transaction may be on another connection."""

import asyncio
import getpass
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from django.conf import settings
from psycopg.rows import dict_row

from config.embedded import postgres_url
from tests.ports import answers, free_port
from tests.rig.promises.followed import followed
from tests.rig.site import Site
from tests.waiting import PATIENCE, wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

CONFIGURATION = """
[databases]
postgres = host={host} port=5432 dbname=postgres user=postgres pool_size={size}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
admin_users = postgres
pool_mode = {mode}
"""

#: The names of requests; one has none.
NAMES = ("one", "two", "")
#: A process that changes a ticket in a request, and once more after it; and says which connection it had.
REQUEST = """
from contextlib import nullcontext
from django.db import connection, transaction
from pillarbox.capture.traces import traced
from apps.tickets.models import Ticket
with traced({0!r}) if {0!r} else nullcontext(), transaction.atomic():
    Ticket.objects.update(title={0!r})
Ticket.objects.update(title="after " + {0!r})
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_backend_pid()")
    print(cursor.fetchone())
"""
#: The titles that tickets had, each with the mark of its events' ids, and the number of its rows.
MARKS = """
SELECT image ->> 'title', left(replace(event_id::text, '-', ''), 12), count(*)
FROM pillarbox_notificationoutbox WHERE image IS NOT NULL GROUP BY 1, 2 ORDER BY min(id)
"""

# CI installs it, and must not go without.
pytestmark = pytest.mark.skipif(
    not PGBOUNCER and not os.environ.get("CI"), reason="needs Debian's package pgbouncer"
)


@pytest.fixture
def pooler(tmp_path):
    """Start a pooler before a site's database, and return its address."""
    started = []

    def start(site, mode="transaction", size=4):
        (host,) = parse_qs(urlsplit(postgres_url(site.data_dir)).query)["host"]
        port, configuration = free_port(), tmp_path / f"{mode}.ini"
        configuration.write_text(CONFIGURATION.format(host=host, port=port, mode=mode, size=size))
        # It refuses to be root, and must get at the socket.
        user = ["-u", Path(host).owner()] if getpass.getuser() == "root" else []
        with (tmp_path / f"{mode}.log").open("wb") as log:
            command = [PGBOUNCER, *user, str(configuration)]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(lambda: answers(port), "PgBouncer answers")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE)


def test_modes(pooler, tmp_path_factory):
    """
    Session and transaction mode will do; statement mode won't, and nothing is lost in it.
    """
    with Site(tmp_path_factory.mktemp("site")) as site:
        drained = {}
        for mode in ("statement", "transaction", "session"):
            site.environment["DATABASE_URL"] = pooler(site, mode)
            site.announce(mode)
            with suppress(subprocess.CalledProcessError):
                site.manage("pillarbox", "drain")
            drained[mode] = site.is_drained()
        assert {"statement": False, "transaction": True, "session": True} == drained
        assert [] == site.result().errors
        site.environment["DATABASE_URL"] = pooler(site, "statement")
        command = [sys.executable, "manage.py", "pillarbox", "doctor", "--only", "database"]
        asked = {"cwd": settings.BASE_DIR, "env": site.environment, "text": True}
        said = subprocess.run(command, stdout=subprocess.PIPE, check=False, **asked).stdout
        assert "not allowed in statement pooling mode" in " ".join(said.split())


def test_requests_that_share_a_connection(pooler, tmp_path_factory):
    """
    The mark of one request, in a transaction or not, is on none of the next one's changes, nor on others.
    """
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.prepare(clients=0, projects=1, tickets=1)
        site.query("DELETE FROM pillarbox_notificationoutbox")
        site.environment["DATABASE_URL"] = pooler(site, size=1)
        servers = {
            site.run("manage.py", "shell", "-v0", "-c", REQUEST.format(name)) for name in NAMES
        }
        assert 1 == len(servers)
        found = site.query(MARKS)
        marks = {name: mark for name, mark, _ in found}
        assert [(name, mark, 2) for name, mark in marks.items()] == found
        assert {*NAMES, "after one", "after two", "after "} == marks.keys()
        assert marks["one"] == hashlib.sha256(b"one").hexdigest()[:12]
        assert len(marks) == len(set(marks.values()))


def test_order_and_exclusiveness_behind_a_pooler(pooler, tmp_path_factory):
    """
    Offsets are gapless and each row is published by one worker, while one is killed and one freezes.
    """
    writers = ["writer1", "writer2", "writer3"]
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.environment |= {"DATABASE_URL": pooler(site), "WORKER_CONCURRENCY": "1"}
        projects = site.prepare(clients=0, projects=len(writers), tickets=0)["projects"]
        site.start("worker1", "worker2", "beat")
        for name, project in zip(writers, projects, strict=True):
            site.write(name, [project], rate=40, seed=name, batch=1)
        wait_until(lambda: len(site.published()) > 100, "rows are published")
        site.kill("worker1")
        site.start("worker1")
        site.freeze("worker2")
        before = len(site.published())
        wait_until(lambda: len(site.published()) > before + 100, "the other one goes on")
        site.resume("worker2")
        site.stop_writers(*writers)
        wait_until(site.is_drained, "all is published")
        assert [] == site.result().errors
        assert 0 == site.failed()
        assert [(0,)] == site.query("SELECT max(attempts) FROM pillarbox_notificationoutbox")
        for name in site.running:
            # PostgreSQL ends the transaction, and so the connection, of a worker that is frozen in it.
            log = site.log(name).replace("server closed the connection unexpectedly", "")
            assert "unexpected" not in log


async def test_a_pool_without_connections(pooler, tmp_path_factory):
    """
    While others hold all of a pool's, everybody waits; what is committed meanwhile is shown when one is back.
    """
    with Site(tmp_path_factory.mktemp("site")) as site:
        address = pooler(site, size=4)
        site.environment |= {"DATABASE_URL": address, "WORKER_CONCURRENCY": "1"}
        site.start("worker1", "beat", "daphne")
        async with followed(site) as it:
            with ExitStack() as stack:
                for _ in range(4):
                    holder = stack.enter_context(psycopg.connect(address))
                    holder.execute("SELECT 1")
                await asyncio.to_thread(wait_until, lambda: waiting(address), "others wait")
                it.change_by(holder, "meanwhile")
                holder.commit()
                await it.is_shown("meanwhile")
            await it.change("after")


def waiting(address):
    """Return how many clients wait for one of a pooler's connections."""
    console = address.removesuffix("postgres") + "pgbouncer"
    with psycopg.connect(console, autocommit=True, row_factory=dict_row) as connection:
        return sum(pool["cl_waiting"] for pool in connection.execute("SHOW POOLS"))
