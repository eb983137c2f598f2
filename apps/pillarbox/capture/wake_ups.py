"""
Wake-ups: a worker is asked to drain after each transaction that wrote to a live table.

Triggers capture all writes. This module also notices writes through Django and requests a wake-up at once.
Other writes wait for the sweep, a second at most.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from ..types.live_models import live_tables
from .traces import current_mark

#: The transaction-local setting from which triggers read the request's mark.
TRACE = "pillarbox.trace"
WRITE = re.compile(
    r"\s*(?:INSERT\s+INTO|UPDATE|(?P<deletion>DELETE\s+FROM)|MERGE\s+INTO)\s+(?:ONLY\s+)?"
    r'(?:(?:"[^"]+"|\w+)\s*\.\s*)?(?:"(?P<quoted>[^"]+)"|(?P<plain>\w+))',
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WakeUp:
    """A wake-up to request after a commit. A transaction requests one for each change of its trace mark."""

    using: str
    #: The trace mark of the HTTP request (`traces`) whose changes the transaction holds; empty if none.
    mark: str

    def request(self) -> None:
        """Called after the commit. Calls the configured function, if any."""
        if path := pillarbox_settings().WAKE_UP:
            import_string(path)(self.using)


def wake_up_on_commit(using: str) -> None:
    """
    Request a wake-up after the commit of the transaction that is open on ``using``.

    A repeated call with the same mark does nothing. The requests are the connection's commit callbacks, so a
    savepoint's rollback drops its request. The transaction also gets the trace's mark for its triggers,
    and the rollback drops this, too.
    """
    _request_on_commit(connections[using])


def _request_on_commit(connection: Any) -> None:
    mark, last = current_mark(), _last_request(connection)
    if last is not None and last.mark == mark:
        return
    # This runs with each save, so it avoids `transaction.on_commit`, which looks the connection up again.
    connection.on_commit(WakeUp(connection.alias, mark).request, robust=True)
    # An empty mark is set, too, if it must replace the mark of an earlier request in this transaction.
    if connection.in_atomic_block and (mark or (last is not None and last.mark)):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, true)", [TRACE, mark])


def _last_request(connection: Any) -> WakeUp | None:
    """Return the last wake-up that the connection's transaction has requested so far."""
    for _, callback, *_ in reversed(connection.run_on_commit):
        # A callback is a function, or a bound method as in `_request_on_commit`.
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, WakeUp):
            return owner
    return None


def notice_writes(connection: Any, **_: Any) -> None:
    """Called when Django has connected. Notices writes on this connection from now on."""
    if _notice not in connection.execute_wrappers:
        # Inserted first, because an `execute_wrapper` block that caused the connection removes the last one.
        connection.execute_wrappers.insert(0, _notice)


def _notice(
    execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Called by Django to execute a statement. Requests a wake-up if it writes to a live table."""
    connection = context["connection"]
    if not _writes_live_table(sql):
        return execute(sql, params, many, context)
    if connection.in_atomic_block:
        # Before the write, because the mark must be set when its triggers fire.
        _request_on_commit(connection)
        return execute(sql, params, many, context)
    result = execute(sql, params, many, context)
    if connection.get_autocommit():
        _request_on_commit(connection)
    return result


def _writes_live_table(sql: Any) -> bool:
    found = WRITE.match(sql) if isinstance(sql, str) else None
    if found is None:
        return False
    announced = live_tables(is_deletion=found["deletion"] is not None)
    return (found["quoted"] or found["plain"]) in announced
