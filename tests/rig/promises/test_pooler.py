"""Behind PgBouncer: in transaction mode each transaction may be on another connection."""

import getpass
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings

from config.embedded import postgres_url
from tests.rig.processes import PATIENCE, answers, free_port, wait_until
from tests.rig.site import Site

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

CONFIGURATION = """
[databases]
postgres = host={host} port=5432 dbname=postgres user=postgres pool_size=4

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = {mode}
"""

# CI installs it, and must not go without.
pytestmark = pytest.mark.skipif(
    not PGBOUNCER and not os.environ.get("CI"), reason="needs Debian's package pgbouncer"
)


@pytest.fixture
def pooler(tmp_path):
    """Start a pooler before a site's database, and return its address."""
    started = []

    def start(site, mode="transaction"):
        (host,) = parse_qs(urlsplit(postgres_url(site.data_dir)).query)["host"]
        port, configuration = free_port(), tmp_path / f"{mode}.ini"
        configuration.write_text(CONFIGURATION.format(host=host, port=port, mode=mode))
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
                site.manage("drain")
            drained[mode] = site.is_drained()
        assert {"statement": False, "transaction": True, "session": True} == drained
        assert [] == site.result().errors
        site.environment["DATABASE_URL"] = pooler(site, "statement")
        command = [sys.executable, "manage.py", "outbox", "doctor", "--only", "database"]
        asked = {"cwd": settings.BASE_DIR, "env": site.environment, "text": True}
        said = subprocess.run(command, stdout=subprocess.PIPE, check=False, **asked).stdout
        assert "not allowed in statement pooling mode" in " ".join(said.split())


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
        assert [(0,)] == site.query("SELECT max(attempts) FROM outbox_notificationoutbox")
        for name in site.running:
            # PostgreSQL ends the transaction, and so the connection, of a worker that is frozen in it.
            log = site.log(name).replace("server closed the connection unexpectedly", "")
            assert "unexpected" not in log
