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
    with FaultSite(tmp_path_factory.mktemp("site"), workers=0) as site:
        drained = {}
        for mode in ("statement", "transaction", "session"):
            site.environment["DATABASE_URL"] = pooler(site, mode)
            site.announce(mode)
            with suppress(subprocess.CalledProcessError):
                site.manage("drain")
            drained[mode] = site.is_drained()
        assert {"statement": False, "transaction": True, "session": True} == drained
        assert site.verdict().is_clean
        site.environment["DATABASE_URL"] = pooler(site, "statement")
        command = [sys.executable, "manage.py", "outbox", "doctor", "--only", "database"]
        asked = {"cwd": settings.BASE_DIR, "env": site.environment, "text": True}
        said = subprocess.run(command, stdout=subprocess.PIPE, check=False, **asked).stdout
        assert "not allowed in statement pooling mode" in " ".join(said.split())


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
