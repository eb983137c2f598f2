"""Behind PgBouncer in transaction mode, where each transaction may be on another connection."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from config.embedded import postgres_url
from config.verify.processes import PATIENCE, answers, free_port, wait_until

from .site import FaultSite

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

CONFIGURATION = """
[databases]
postgres = host={host} port=5432 dbname=postgres user=postgres pool_size=4

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = transaction
"""


@pytest.fixture
def pooler(tmp_path):
    """Start a pooler before a site's database, and return its address."""
    started = []

    def start(site):
        (host,) = parse_qs(urlsplit(postgres_url(site.data_dir)).query)["host"]
        port, configuration = free_port(), tmp_path / "pgbouncer.ini"
        configuration.write_text(CONFIGURATION.format(host=host, port=port))
        # It refuses to be root, and must get at the socket.
        user = ["-u", Path(host).owner()] if getpass.getuser() == "root" else []
        with (tmp_path / "pgbouncer.log").open("wb") as log:
            command = [PGBOUNCER, *user, str(configuration)]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(lambda: answers(port), "PgBouncer answers")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE)


# CI installs it, and must not go without.
@pytest.mark.skipif(
    not PGBOUNCER and not os.environ.get("CI"), reason="needs Debian's package pgbouncer"
)
def test_order_and_exclusiveness_behind_a_pooler(pooler, tmp_path_factory):
    """
    Offsets are gapless and each row is published by one worker, while one is killed and one freezes.
    """
    with FaultSite(tmp_path_factory.mktemp("site"), workers=2) as site:
        site.environment["DATABASE_URL"] = pooler(site)
        site.start(*site.workers, "beat")
        writers = [site.write(seed=number, seconds=8, rate=60) for number in range(3)]
        wait_until(lambda: site.verdict().changes > 100, "the writers are at it")
        site.kill("worker1")
        site.start("worker1")
        site.freeze("worker2")
        published = site.verdict().changes
        wait_until(lambda: site.verdict().changes > published + 100, "the other one goes on")
        site.resume("worker2")
        assert [0, 0, 0] == [writer.wait(PATIENCE) for writer in writers]
        wait_until(site.is_drained, "all is published")
        verdict = site.verdict()
        assert verdict.is_clean, verdict
        assert [(0,)] == site.query("SELECT max(attempts) FROM outbox_notificationoutbox")
        for name in (*site.workers, "beat"):
            unexpected = [line for line in site.log(name).splitlines() if "unexpected" in line]
            assert not unexpected
