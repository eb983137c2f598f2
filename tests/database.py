"""What tests see of the database: what is announced, by which statements, and who waits for whom."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from apps.outbox.models import NotificationOutbox
from apps.realtime.groups import stream_for
from apps.tickets.models import Ticket
from tests.waiting import PATIENCE, wait_until


def payloads(**lookup: Any) -> list[Any]:
    """Return the payloads in the outbox, in order."""
    rows = NotificationOutbox.objects.filter(**lookup).order_by("id")
    return list(rows.values_list("payload", flat=True))


def update(ticket: Ticket) -> list[tuple[str, str]]:
    """Return what an update of a ticket announces: streams and events."""
    return [
        (stream_for("project.tickets", ticket.project_id), "UPDATE_TICKET"),
        (stream_for("ticket", ticket.pk), "UPDATE_TICKET"),
    ]


def statements(change: Callable[[], Any]) -> list[str]:
    """Return the first word of each statement with which something is done."""
    with CaptureQueriesContext(connection) as captured:
        change()
    return [query["sql"].split()[0] for query in captured]


def alter_system(setting: str) -> None:
    """Change a setting of the server, for everybody, until it is changed again."""
    before = _settings_read_at()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER SYSTEM SET {setting}")
        cursor.execute("SELECT pg_reload_conf()")
    # The server reads its files before it tells its connections to, this one among them.
    wait_until(lambda: _settings_read_at() != before, "PostgreSQL has read its settings")


def _settings_read_at() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_conf_load_time()")
        return cursor.fetchone()[0]


def refuse_connections(of: str = "") -> None:
    """Have the database take no connection; those of a process of that name, if it has one, end."""
    _allow_connections(False)
    if of:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]  # Django's own
            name = connection.settings_dict["NAME"]
            cursor.execute(f"{ending} WHERE application_name = %s AND datname = %s", [of, name])


def accept_connections() -> None:
    """Have the database take connections again."""
    _allow_connections(True)


def _allow_connections(allows: bool) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]  # Django's own
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allows}")


@contextmanager
def database_settings(**conf: Any) -> Iterator[None]:
    """While the block runs, the settings say this of the database; connections stay as they are."""
    before = settings.DATABASES[DEFAULT_DB_ALIAS]
    settings.DATABASES[DEFAULT_DB_ALIAS] = conf
    try:
        yield
    finally:
        settings.DATABASES[DEFAULT_DB_ALIAS] = before


def wait_for_a_waiting_lock() -> None:
    """Return when another connection waits for a lock, of this one's perhaps."""
    with connection.cursor() as cursor:

        def waiting() -> Any:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0]

        wait_until(waiting, "another connection waits for a lock")


@contextmanager
def elsewhere(held: AbstractContextManager[Any]) -> Iterator[None]:
    """Hold something, a lock say, by another connection while the block runs."""
    taken, release = Event(), Event()

    def hold() -> None:
        try:
            with held:
                taken.set()
                assert release.wait(PATIENCE)
        finally:
            taken.set()
            connections.close_all()

    thread = Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        release.set()
        thread.join()


@contextmanager
def row_locks(rows: QuerySet[Any]) -> Iterator[None]:
    """Hold locks on the rows."""
    with transaction.atomic():
        assert list(rows.select_for_update())
        yield


@contextmanager
def table_lock(table: str) -> Iterator[None]:
    """Keep everybody else from a table, to read it, even."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table}")
        yield
