"""A site of its own, servers included, whose every part can be killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis
from django.conf import settings

from apps.outbox.models import shard_of
from config.embedded import EmbeddedServerError, Servers, postgres_url, redis_url
from config.verify.processes import PATIENCE, wait_until
from tests.processes import Site
from tests.servers import start_keeper

from .history import Verdict, judge, read_changes, read_publications

ANNOUNCE = """
INSERT INTO outbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id, payload)
VALUES (%s, %s, gen_random_uuid(), 'UPDATE_TICKET', %s, %s, %s)
"""


class FaultSite(Site):
    """Processes that obey the orders in ``folder``, and servers of their own in a folder below it."""

    def __init__(self, folder: Path, *, workers: int, **outbox: Any) -> None:
        super().__init__(folder)
        self.workers = [f"worker{number}" for number in range(1, workers + 1)]
        self.folder = folder
        # Not below pytest's own: another run of pytest would close that folder to the servers' user.
        self.data_dir = Path(tempfile.mkdtemp(prefix="faults-"))
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "FAULTS_FOLDER": str(folder),
            "FAULTS_OUTBOX": json.dumps(outbox),
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": postgres_url(self.data_dir),
            "REDIS_URL": redis_url(self.data_dir),
            "WORKER_CONCURRENCY": "1",
        }
        self.servers = Servers(self.data_dir)

    def __enter__(self) -> Self:
        self._keeper = start_keeper(self.data_dir, DATABASE_URL="", REDIS_URL="")
        assert self._keeper is not None
        self.manage("migrate", "-v0")
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
            stack.callback(self._keeper.communicate, timeout=PATIENCE)
            stack.callback(self.servers.stop)
            super().__exit__()

    def manage(self, *words: str) -> None:
        """Run a command of manage.py to its end."""
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=settings.BASE_DIR, env=self.environment, check=True)

    def reset(self) -> None:
        """Begin anew: no rows, no orders, no history."""
        self.query(
            "TRUNCATE outbox_notificationoutbox, outbox_stream, outbox_claim, tickets_ticket,"
            " tickets_project RESTART IDENTITY CASCADE"
        )
        for path in self.folder.iterdir():
            if path.is_file() and path.suffix != ".log":
                path.unlink()

    # Orders

    def order(self, order: str) -> None:
        (self.folder / order).touch()

    def revoke(self, order: str) -> None:
        (self.folder / order).unlink(missing_ok=True)

    def is_obeyed(self, order: str) -> bool:
        """Whether somebody has carried it out."""
        return not (self.folder / order).exists()

    # Work

    def write(
        self, *, seed: int = 1, seconds: float, rate: float, **outbox: Any
    ) -> "subprocess.Popen[bytes]":
        """Return a running writer, with settings of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", str(seed), str(seconds), str(rate)],
            cwd=settings.BASE_DIR,
            env={**self.environment, "FAULTS_OUTBOX": json.dumps(outbox)},
        )

    def announce(self, *contents: str, stream: str = "ticket:1") -> None:
        """Insert rows as a change would, in a transaction, without a bell; and record them."""
        object_type, _, pk = stream.partition(":")
        rows = [
            (stream, shard_of(stream), object_type, pk, json.dumps({"title": content}))
            for content in contents
        ]
        with psycopg.connect(postgres_url(self.data_dir)) as connection:
            connection.cursor().executemany(ANNOUNCE, rows)
        for content in contents:
            self.note(stream, content)

    def note(self, stream: str, content: str) -> None:
        """Record a change whose writer didn't live to do it."""
        with (self.folder / "record").open("a") as record:
            line = {"stream": stream, "content": content, "at": time.time()}
            record.write(json.dumps(line) + "\n")

    # What is there

    def query(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Return what the site's database answers."""
        with psycopg.connect(postgres_url(self.data_dir), autocommit=True) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def is_drained(self) -> bool:
        """Whether no row is pending."""
        rows = self.query(
            "SELECT count(*) FROM outbox_notificationoutbox"
            " WHERE published_at IS NULL AND failed_at IS NULL"
        )
        return rows == [(0,)]

    def verdict(self) -> Verdict:
        """Judge what was recorded and noted so far."""
        changes = read_changes(self.folder / "record")
        return judge(changes, read_publications(self.folder / "journal"))

    # Faults

    def freeze(self, name: str) -> None:
        """Stop a process and its children, wherever they are."""
        os.killpg(self.running[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let what was stopped go on."""
        os.killpg(self.running[name].pid, signal.SIGCONT)

    def waiting(self) -> int:
        """Return how many messages wait for a worker."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            return client.llen("outbox")

    def kill_redis(self) -> None:
        """End Redis, with all it held."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            _kill(client.info("server")["process_id"])

    def kill_postgres(self) -> None:
        """End PostgreSQL, each of its processes."""
        pid = int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        _kill(pid)

    def start_servers(self) -> None:
        """Start the servers that were killed."""
        wait_until(self._starts, "the servers start again")

    def _starts(self) -> bool:
        with suppress(EmbeddedServerError, psycopg.OperationalError):
            self.servers.start()
            self.query("SELECT 1")
            return True
        return False


def _kill(pid: int) -> None:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_until(lambda: all(map(_is_dead, family)), f"{process} is dead")


def _is_dead(process: psutil.Process) -> bool:
    """Whether it runs no more, though its parent may not have heard of it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
