"""
What a change came from: the ids of the events of one request begin alike.

So one word finds a request in the logs, its rows, and the frames that sockets were sent, without a
column, and without a line in the log for each row.
"""

import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: What of an event's id is the trace's: the first two groups of digits, ``0193f00d-beef``.
DIGITS = 12
UUID = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE
)

_mark: ContextVar[str] = ContextVar("trace", default="")


@contextmanager
def traced(request_id: str) -> Iterator[str]:
    """
    Have what is captured in the block bear the mark of a request, or of whatever has such an id.

    Yields the mark as it stands in events' ids, logs and frames. It is the beginning of an id that is a
    UUID, else made of it.
    """
    if UUID.fullmatch(request_id):
        mark = request_id.replace("-", "").lower()[:DIGITS]
    else:
        mark = hashlib.sha256(request_id.encode()).hexdigest()[:DIGITS]
    token = _mark.set(mark)
    try:
        yield f"{mark[:8]}-{mark[8:]}"
    finally:
        _mark.reset(token)


def new_event_id() -> uuid.UUID:
    """Return an id for the event of one change. 74 bits of it are random, whoever chose the others."""
    chosen, mark = uuid.uuid4(), _mark.get()
    return uuid.UUID(hex=mark + chosen.hex[DIGITS:]) if mark else chosen
