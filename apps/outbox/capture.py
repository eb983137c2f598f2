"""Capture: what a committed change announces is written in the transaction that changes it."""

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction

from .announcers import Announcer, affected
from .bell import ring_on_commit
from .models import NotificationOutbox, shard_of
from .payload import encode
from .stored import Rows, locked, related, rows
from .traces import new_event_id

logger = logging.getLogger(__name__)

#: More rows than this are copied, which takes a fifth of the time; for few, an INSERT is quicker.
INSERTED_ROWS = 20
COLUMNS = ("stream", "shard", "event_id", "event", "object_type", "object_id", "is_move", "payload")

#: Rows that the deletions going on are about to delete; None for those that must be looked at again.
doomed: ContextVar["dict[tuple[Announcer, Any], Any] | None"] = ContextVar("doomed", default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """What one change announces on one stream."""

    #: Name of the stream.
    stream: str
    #: What happened: ``UPDATE_TICKET``.
    event: str
    #: Type and primary key of the object it happened to.
    object_type: str
    object_id: str
    #: What subscribers see, as JSON text.
    payload: str
    #: Whether the object was elsewhere, or not for the same eyes, before: no reader goes back across it.
    is_move: bool = False
    #: The same for all notifications of one change.
    event_id: uuid.UUID = field(default_factory=new_event_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A change of one object: its row as it was stored, and as it is now; None where there is none."""

    announcer: Announcer
    before: Any
    after: Any

    @property
    def key(self) -> tuple[Announcer, Any]:
        """What is the same for all changes of one object."""
        return self.announcer, (self.before if self.after is None else self.after).pk

    @property
    def is_move(self) -> bool:
        """Whether what decides where the object is announced, or who may see it, has changed."""
        is_kept = self.before is not None and self.after is not None
        return is_kept and self.announcer.moves(self.before, self.after)


def capture(notifications: Sequence[Notification], *, using: str) -> None:
    """Write notifications into the outbox of ``using``: in the open transaction, or in one of its own."""
    if not notifications:
        return
    with transaction.atomic(using=using, savepoint=False):
        write = _insert if len(notifications) <= INSERTED_ROWS else _copy
        write(notifications, using)
        ring_on_commit(using)
    if logger.isEnabledFor(logging.DEBUG):
        for n in notifications:
            extra = {"action": "captured", "event_id": n.event_id, "stream": n.stream}
            logger.debug("Captured, if it is committed", extra=extra)


def capture_changes(changes: Iterable[Change], *, using: str) -> None:
    """
    Capture changes of live objects, whose rows the caller has locked.

    A stream that an object was announced in, and still is, gets an UPDATE, one it entered a CREATE,
    one it left a DELETE with the id and nothing else: the new content is not for those who read there.
    The UPDATE of one that moved is marked: what it was before may not be for those who read it now.
    Objects that show something of a changed one get an UPDATE of their own.
    Raises PayloadError, before any row is written, if a payload can't be stored.
    """
    changes = list(changes)
    captured: set[tuple[Announcer, Any]] = set()
    while changes:
        captured |= {change.key for change in changes}
        for change in changes:
            _follow_doomed(change)
        capture([n for change in changes for n in _notifications(change)], using=using)
        # Objects that show each other would go on for ever.
        changes = [change for change in _stale(changes, using) if change.key not in captured]


def _follow_doomed(change: Change) -> None:
    """Note that a receiver, or a foreign key set to null, changes a row that is about to be deleted."""
    known = doomed.get()
    if known is not None and change.key in known:
        # Not what it becomes: the receiver may yet take it back.
        known[change.key] = None


def _notifications(change: Change) -> Iterator[Notification]:
    announcer, row = change.announcer, change.before if change.after is None else change.after
    left = () if change.before is None else announcer.streams(change.before)
    entered = () if change.after is None else announcer.streams(change.after)
    event_id, object_id = new_event_id(), str(row.pk)
    payload = None if change.after is None else _payload(announcer, change.after)
    tombstone, is_move = None, change.is_move
    for stream in sorted({*left, *entered}):
        if stream not in entered:
            tombstone = tombstone or encode(announcer.tombstone(row.pk), announcer.object_type)
        verb = "DELETE" if stream not in entered else "UPDATE" if stream in left else "CREATE"
        if verb not in announcer.verbs:
            continue
        yield Notification(
            stream=stream,
            event=announcer.event(verb),
            object_type=announcer.object_type,
            object_id=object_id,
            payload=tombstone if verb == "DELETE" else payload,  # type: ignore[arg-type]  # never None
            # Who may read a collection is decided by its owner, wherever this object was.
            is_move=is_move and stream in entered[:1],
            event_id=event_id,
        )


def _payload(announcer: Announcer, row: Any) -> str:
    try:
        return encode(announcer.payload(row), announcer.object_type)
    except Exception as error:
        label = f"{announcer.model._meta.label} {row.pk!r}"
        error.add_note(
            f"{label} is not saved: the payload of {announcer.object_type!r} can't be made."
        )
        raise


def differences(announcer: Announcer, before: Rows, after: Rows) -> Iterator[Change]:
    """Yield what changed of a model's rows from before to after; those only before are left out."""
    for pk, row in after.items():
        was = before.get(pk)
        if was is None or announcer.differ(was, row):
            yield Change(announcer=announcer, before=was, after=row)


def _stale(changes: list[Change], using: str) -> list[Change]:
    """Return as changes the objects that show something of changed ones, locked and read anew."""
    shown = ((c.announcer, row) for c in changes for row in (c.before, c.after) if row is not None)
    return [
        Change(announcer=announcer, before=row, after=row)
        for announcer, found in _showing(shown, using)
        for row in found.values()
    ]


def _showing(
    shown: Iterable[tuple[Announcer, Any]], using: str
) -> Iterator[tuple[Announcer, Rows]]:
    """Lock and read the objects that show something of rows, which each come with their announcer."""
    keys: dict[Any, set[Any]] = {}
    for announcer, row in shown:
        for link in announcer.shown_in:
            key = getattr(row, link.attname)
            keys.setdefault((link, announcer.owner), set()).update(() if key is None else (key,))
    # In one order, whichever type names them in which: nobody waits in a circle.
    for (link, relations_owner), values in sorted(keys.items(), key=_by_label):
        model = link.related_model
        pks = rows(model, using).filter(**{f"{link.target_field.name}__in": values}).values("pk")
        announcers = (relations_owner,) if relations_owner else affected(model)
        for announcer in announcers if values else ():
            lookup = related(announcer.model, model, pks, using)
            found = locked(announcer.model, using, **lookup)
            yield (
                announcer,
                {
                    pk: row
                    for pk, row in found.items()
                    if (announcer, pk) not in (doomed.get() or ())
                },
            )


def _by_label(item: tuple[tuple[Any, Any], Any]) -> str:
    (link, _), _ = item
    return str(link.related_model._meta.label)


def _insert(notifications: Sequence[Notification], using: str) -> None:
    values = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s::jsonb)"] * len(notifications))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_columns(using)} VALUES {values}",  # names and placeholders
            [value for notification in notifications for value in _values(notification)],
        )


def _copy(notifications: Sequence[Notification], using: str) -> None:
    with (
        # Django wraps what `execute` raises, and nothing else.
        connections[using].wrap_database_errors,
        connections[using].cursor() as cursor,
        cursor.copy(f"COPY {_columns(using)} FROM STDIN") as copy,
    ):
        for notification in notifications:
            copy.write_row(_values(notification))


def _columns(using: str) -> str:
    quote = connections[using].ops.quote_name
    return f"{quote(NotificationOutbox._meta.db_table)} ({', '.join(map(quote, COLUMNS))})"


def _values(n: Notification) -> tuple[Any, ...]:
    shard = shard_of(n.stream)
    return n.stream, shard, n.event_id, n.event, n.object_type, n.object_id, n.is_move, n.payload
