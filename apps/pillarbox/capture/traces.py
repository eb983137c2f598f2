"""
Traces: the event ids of all changes of one request have a common prefix, the request's mark.

The mark finds the request in the logs, its rows in the outbox, and its frames on sockets. It needs no
column, and no log line for each row.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: The length of the mark in digits: the first two groups of an event's id, ``0193f00d-beef``.
DIGITS = 12
UUID = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE
)

_mark: ContextVar[str] = ContextVar("trace", default="")


@contextmanager
def traced(request_id: str) -> Iterator[str]:
    """
    Give all events captured in the block the mark of a request, or of another unit of work with an id.

    Yield the mark as it appears in event ids, logs and frames. It is the prefix of an id that is a UUID,
    and otherwise a hash of the id.
    """
    if UUID.fullmatch(request_id):
        mark = request_id.replace("-", "").lower()[:DIGITS]
    else:
        mark = hashlib.sha256(request_id.encode()).hexdigest()[:DIGITS]
    token = _mark.set(mark)
    try:
        yield current_mark()
    finally:
        _mark.reset(token)


def current_mark() -> str:
    """Return the mark of the current request as it appears in event ids; empty if there is none."""
    mark = _mark.get()
    return f"{mark[:8]}-{mark[8:]}" if mark else ""


def new_event_id() -> uuid.UUID:
    """Return an id for the event of one change. At least 74 bits of it are random."""
    chosen, mark = uuid.uuid4(), _mark.get()
    return uuid.UUID(hex=mark + chosen.hex[DIGITS:]) if mark else chosen
