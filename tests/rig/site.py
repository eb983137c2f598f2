"""A site under test: its processes have failpoints, and it records all commits and publications."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis

from config.embedded import redis_url
from pillarbox.models import shard_of
from tests.waiting import wait_until

from . import failpoints, ledger
from .checker import Result, check_history
from .history import Committed, Record, journal_in, read_journal
from .servers import ServedProcesses
from .writer import FAILED, WRITING

WRITE = "from tests.rig.writer import write; write({})"
PREPARE = "import json, tests.rig.fixtures as f; print(json.dumps(f.prepare({}, {}, {}, {})))"
ANNOUNCE = """
INSERT INTO pillarbox_notificationoutbox (stream, shard, event_id, event, object_type, object_id, payload)
VALUES (%s, %s, gen_random_uuid(), 'UPDATE_TICKET', %s, %s, %s)
"""
CHANGE = "UPDATE tickets_ticket SET title = %s WHERE id = %s"


class Site(ServedProcesses):
    """A site with servers of its own. ``outbox`` overrides settings of the outbox."""

    def __init__(self, log_folder: Path, **outbox: Any) -> None:
        super().__init__(log_folder)
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.rig.settings",
            "RIG_PILLARBOX": json.dumps(outbox),
        }
        self.failpoints = failpoints.folder_in(self.data_dir)
        self.journal = journal_in(self.data_dir)

    def __enter__(self) -> Self:
        super().__enter__()
        self.query(ledger.CREATE)
        self.failpoints.mkdir()
        return self

    def reset(self) -> None:
        """Delete all rows, failpoints and records."""
        self.query(
            "TRUNCATE rig_ledger, pillarbox_notificationoutbox, pillarbox_stream, pillarbox_claim,"
            " pillarbox_rendering, auth_user, tickets_ticket, tickets_project RESTART IDENTITY CASCADE"
        )
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.failpoints)
        self.failpoints.mkdir()

    # Failpoints
    def set_failpoint(self, name: str) -> None:
        """Set a failpoint, as `failpoints` defines them."""
        (self.failpoints / name).touch()

    def clear_failpoint(self, name: str) -> None:
        """Clear a failpoint."""
        (self.failpoints / name).unlink(missing_ok=True)

    def was_reached(self, name: str) -> bool:
        """Whether a process has reached a failpoint, which clears it."""
        return not (self.failpoints / name).exists()

    # Work

    def prepare(self, *, clients: int, projects: int, tickets: int, guests: int = 0) -> Any:
        """Create fixtures, as `fixtures.prepare` does, and delete their creation from the journal."""
        code = PREPARE.format(clients, projects, tickets, guests)
        fixtures = json.loads(self.run("manage.py", "shell", "-v0", "-c", code))
        wait_until(self.is_drained, "the fixtures are published")
        self.journal.unlink(missing_ok=True)
        return fixtures

    def write(self, name: str, projects: Sequence[int], **options: Any) -> None:
        """Start a writer, which changes tickets of the projects until stopped. Returns once it writes."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
        code = WRITE.format(f"{[*projects]}, {arguments}")
        self.commands[name] = f'exec python manage.py shell -v0 -c "{code}"'
        self.start(name)
        wait_until(lambda: WRITING in self.log(name), f"{name} begins")

    def stop_writers(self, *names: str) -> None:
        """Stop writers, and wait until the database has ended their last transactions."""
        for name in names:
            self.stop(name)
        # An idle connection may belong to a pooler and still have the name of its last client.
        busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = ANY(%s) AND state <> 'idle'"
        wait_until(lambda: not self.query(busy, [[*names]]), "the writers' transactions end")

    def announce(self, *contents: str, stream: str = "ticket:1") -> None:
        """Insert rows and their ledger entries in one transaction, without a wake-up."""
        object_type, _, pk = stream.partition(":")
        rows = [
            (stream, shard_of(stream), object_type, pk, json.dumps({"title": content}))
            for content in contents
        ]
        with self.connection() as connection, connection.transaction():
            connection.cursor().executemany(ANNOUNCE, rows)
            changes: list[Any] = [([stream], content, []) for content in contents]
            connection.cursor().executemany(ledger.RECORD, changes)

    def change(self, ticket: int, project: int, *contents: str) -> None:
        """Change a ticket by SQL, without a wake-up: one transaction per content, with its ledger entry."""
        streams = [f"project.tickets:{project}", f"ticket:{ticket}"]
        with self.connection() as connection:
            for content in contents:
                with connection.transaction():
                    connection.execute(CHANGE, [content, ticket])
                    connection.execute(ledger.RECORD, [streams, content, []])

    # State
    def is_drained(self) -> bool:
        """Whether no row is pending."""
        pending = "published_at IS NULL AND failed_at IS NULL"
        return not self.query(f"SELECT 1 FROM pillarbox_notificationoutbox WHERE {pending} LIMIT 1")

    def waiting(self) -> int:
        """Return the number of messages in the workers' queue."""
        with redis.Redis.from_url(redis_url(self.data_dir)) as client:
            return int(client.llen("pillarbox"))

    def committed(self) -> list[Committed]:
        """Return the changes committed so far. More may follow while a writer runs."""
        return ledger.committed(self.query(ledger.READ))

    def published(self) -> list[Record]:
        """Return the publications so far, from the channel layer's journal."""
        return [*read_journal(self.journal)]

    def result(self) -> Result:
        """Check the publications so far against the committed changes."""
        return check_history([*self.committed(), *self.published()])

    def failed(self) -> int:
        """Return the number of saves that failed although the database was available."""
        failed = self.data_dir / FAILED
        return len(failed.read_text().splitlines()) if failed.exists() else 0

    def transactions(self) -> int:
        """Return the number of transactions since PostgreSQL was last killed."""
        ((number,),) = self.query("SELECT sum(xact_commit) FROM pg_stat_database")
        return int(number)
