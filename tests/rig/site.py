"""A site under test: its processes obey orders, and all that they commit and publish is known."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis

from apps.outbox.models import shard_of
from config.embedded import redis_url

from . import ledger, orders
from .checker import Result, judge
from .history import Committed, Record, journal_in, read_journal
from .processes import wait_until
from .servers import ServedProcesses
from .writer import FAILED, WRITING

WRITE = "from tests.rig.writer import write; write({})"
PREPARE = "import json, tests.rig.fixtures as f; print(json.dumps(f.prepare({}, {}, {})))"
ANNOUNCE = """
INSERT INTO outbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id, payload)
VALUES (%s, %s, gen_random_uuid(), 'UPDATE_TICKET', %s, %s, %s)
"""


class Site(ServedProcesses):
    """A site of its own, servers included. ``outbox`` changes settings of the outbox."""

    def __init__(self, log_folder: Path, **outbox: Any) -> None:
        super().__init__(log_folder)
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.rig.settings",
            "RIG_OUTBOX": json.dumps(outbox),
        }
        self.orders = orders.folder_in(self.data_dir)
        self.journal = journal_in(self.data_dir)

    def __enter__(self) -> Self:
        super().__enter__()
        self.query(ledger.CREATE)
        self.orders.mkdir()
        return self

    def reset(self) -> None:
        """Begin anew: no rows, no orders, no history."""
        self.query(
            "TRUNCATE rig_ledger, outbox_notificationoutbox, outbox_stream, outbox_claim, auth_user,"
            " tickets_ticket, tickets_project RESTART IDENTITY CASCADE"
        )
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.orders)
        self.orders.mkdir()

    # Orders

    def order(self, order: str) -> None:
        """Give an order of `orders` to whichever process it concerns first."""
        (self.orders / order).touch()

    def revoke(self, order: str) -> None:
        """Take an order back."""
        (self.orders / order).unlink(missing_ok=True)

    def is_obeyed(self, order: str) -> bool:
        """Whether a process has carried the order out."""
        return not (self.orders / order).exists()

    # Work

    def prepare(self, *, clients: int, projects: int, tickets: int) -> Any:
        """Create users and projects, as `fixtures.prepare` does, and forget how they came to be."""
        code = PREPARE.format(clients, projects, tickets)
        fixtures = json.loads(self.run("manage.py", "shell", "-v0", "-c", code))
        wait_until(self.is_drained, "the fixtures are published")
        self.journal.unlink(missing_ok=True)
        return fixtures

    def write(self, name: str, projects: Sequence[int], **options: Any) -> None:
        """Start a writer by this name that changes the projects' tickets until it is stopped."""
        words = ", ".join(f"{key}={value!r}" for key, value in options.items())
        code = WRITE.format(f"{[*projects]}, {words}")
        self.commands[name] = f'exec python manage.py shell -v0 -c "{code}"'
        self.start(name)
        wait_until(lambda: WRITING in self.log(name), f"{name} begins")

    def stop_writers(self, *names: str) -> None:
        """Stop writers. Returns when the database has ended their last transactions, too."""
        for name in names:
            self.stop(name)
        # An idle connection may be a pooler's, and bear the name of its last client.
        busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = ANY(%s) AND state <> 'idle'"
        wait_until(lambda: not self.query(busy, [[*names]]), "the writers' transactions end")

    def announce(self, *contents: str, stream: str = "ticket:1") -> None:
        """Insert rows as a change would, in one transaction with the ledger, without a wake-up."""
        object_type, _, pk = stream.partition(":")
        rows = [
            (stream, shard_of(stream), object_type, pk, json.dumps({"title": content}))
            for content in contents
        ]
        with self.connection() as connection, connection.transaction():
            connection.cursor().executemany(ANNOUNCE, rows)
            changes = [([stream], content) for content in contents]
            connection.cursor().executemany(ledger.RECORD, changes)

    # What is there

    def is_drained(self) -> bool:
        """Whether no row is pending."""
        pending = "SELECT 1 FROM outbox_notificationoutbox WHERE published_at IS NULL AND failed_at IS NULL"
        return not self.query(f"{pending} LIMIT 1")

    def waiting(self) -> int:
        """Return how many messages wait for a worker."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            return int(client.llen("outbox"))

    def committed(self) -> list[Committed]:
        """Return what was committed so far. While a writer is still there, more may come."""
        return ledger.committed(self.query(ledger.READ))

    def published(self) -> list[Record]:
        """Return what the channel layer has taken so far."""
        return [*read_journal(self.journal)]

    def result(self) -> Result:
        """Judge what was committed and published so far."""
        return judge([*self.committed(), *self.published()])

    def failed(self) -> int:
        """Return how many saves have failed though the database was there."""
        failed = self.data_dir / FAILED
        return len(failed.read_text().splitlines()) if failed.exists() else 0

    def transactions(self) -> int:
        """Return how many the database has had since it was last killed."""
        ((number,),) = self.query("SELECT sum(xact_commit) FROM pg_stat_database")
        return int(number)
