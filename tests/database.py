"""Access to the test database: payloads in the outbox, server settings, connections and locks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.models import QuerySet

from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox
from pillarbox.types.groups import stream_for
from tests.rendering import render_all
from tests.waiting import PATIENCE, wait_until


def payloads(**lookup: Any) -> list[Any]:
    """Render captured rows, and return the payloads in the outbox, in order."""
    render_all()
    rows = NotificationOutbox.objects.filter(**lookup).order_by("id")
    return list(rows.values_list("payload", flat=True))


def update(ticket: Ticket) -> list[tuple[str, str]]:
    """Return the rows that an update of a ticket writes: pairs of stream and event."""
    return [
        (stream_for("project.tickets", ticket.project_id), "UPDATE_TICKET"),
        (stream_for("ticket", ticket.pk), "UPDATE_TICKET"),
    ]


def alter_system(setting: str) -> None:
    """Change a setting of the PostgreSQL server, for all connections, and wait until it is in force."""
    before = _settings_read_at()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER SYSTEM SET {setting}")
        cursor.execute("SELECT pg_reload_conf()")
    # The server reloads first, and connections later. Wait until this connection has reloaded.
    wait_until(lambda: _settings_read_at() != before, "PostgreSQL has read its settings")


def _settings_read_at() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_conf_load_time()")
        return cursor.fetchone()[0]


@contextmanager
def on_sqlite(alias: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Let a connection be one to an empty SQLite in memory."""
    original, conf = connections[alias], connections.settings[alias]
    new = connections.create_connection.__func__  # the handler's own way to make one
    before = {key: conf[key] for key in ("ENGINE", "NAME", "OPTIONS")}
    conf |= {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {}}
    try:
        connections[alias] = new(connections, alias)
        yield
    finally:
        if opened := connections[alias].connection:  # Django itself never closes one in memory
            opened.close()
        conf |= before
        connections[alias] = original


def refuse_connections(of: str = "") -> None:
    """Make the database refuse new connections. End those with the application name ``of``, if given."""
    _allow_connections(False)
    if of:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]  # Django's own
            name = connection.settings_dict["NAME"]
            cursor.execute(f"{ending} WHERE application_name = %s AND datname = %s", [of, name])


def accept_connections() -> None:
    """Make the database accept connections again."""
    _allow_connections(True)


def _allow_connections(allows: bool) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection._nodb_cursor() as cursor:  # type: ignore[attr-defined]  # Django's own
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allows}")


@contextmanager
def read_only_database() -> Iterator[None]:
    """Let new connections take no writes within the block, as those to a former primary."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    setting = f"ALTER DATABASE {name} {{}} default_transaction_read_only"
    with connection.cursor() as cursor:
        cursor.execute(f"{setting.format('SET')} = on")
        try:
            yield
        finally:
            cursor.execute(setting.format("RESET"))


@contextmanager
def database_settings(**conf: Any) -> Iterator[None]:
    """Replace the database's settings within the block. Existing connections don't change."""
    before = settings.DATABASES[DEFAULT_DB_ALIAS]
    settings.DATABASES[DEFAULT_DB_ALIAS] = conf
    try:
        yield
    finally:
        settings.DATABASES[DEFAULT_DB_ALIAS] = before


def wait_for_a_waiting_lock() -> None:
    """Wait until another connection waits for a lock."""
    with connection.cursor() as cursor:

        def waiting() -> Any:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0]

        wait_until(waiting, "another connection waits for a lock")


@contextmanager
def elsewhere(held: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter a context, a lock for example, in another thread and connection while the block runs."""
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
    """Lock the rows within the block."""
    with transaction.atomic():
        assert list(rows.select_for_update())
        yield


@contextmanager
def table_lock(table: str) -> Iterator[None]:
    """Lock a table within the block, so that other connections can't even read it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table}")
        yield
