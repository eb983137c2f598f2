"""A site of its own, servers included, whose every part can be killed."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import psycopg
import redis
from django.conf import settings

from apps.outbox.models import shard_of
from config.embedded import postgres_url, redis_url
from config.verify.processes import PATIENCE
from config.verify.site import Site
from tests.servers import start_keeper

from .history import Verdict, judge, read_changes, read_publications

ANNOUNCE = """
INSERT INTO outbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id, payload)
VALUES (%s, %s, gen_random_uuid(), 'UPDATE_TICKET', %s, %s, %s)
"""


class FaultSite(Site):
    """Processes that obey the orders in ``folder``. Its servers end, too, if pytest is killed."""

    def __init__(self, folder: Path, *, workers: int, **outbox: Any) -> None:
        super().__init__(folder)
        self.workers = [f"worker{number}" for number in range(1, workers + 1)]
        self.folder = folder
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "FAULTS_FOLDER": str(folder),
            "FAULTS_OUTBOX": json.dumps(outbox),
            "WORKER_CONCURRENCY": "1",
        }

    def __enter__(self) -> Self:
        self._keeper = start_keeper(self.data_dir, DATABASE_URL="", REDIS_URL="")
        assert self._keeper is not None
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        with ExitStack() as stack:
            stack.callback(self._keeper.communicate, timeout=PATIENCE)
            super().__exit__(*error)

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

    def waiting(self) -> int:
        """Return how many messages wait for a worker."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            return client.llen("outbox")
