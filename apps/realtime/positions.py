"""Where sockets stand, and where their streams do: for many sockets in a few queries."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from django.db import DEFAULT_DB_ALIAS

from ..outbox.history import Position, known_standings
from .database import in_rounds, limited
from .socket import Socket

T = TypeVar("T")

#: Streams that one query asks about.
STREAMS_AT_ONCE = 1000


async def positions_of(sockets: Iterable[Socket]) -> dict[str, Position]:
    """Return where all streams stand that sockets follow; those that there aren't are left out."""
    found: dict[str, Position] = {}
    for names in batches(set(_streams(sockets)), STREAMS_AT_ONCE):
        asked = dict.fromkeys(names)
        standings = await in_rounds(
            "positions", limited(known_standings), asked, using=DEFAULT_DB_ALIAS
        )
        found |= {stream: standing.head for stream, standing in standings.items()}
    return found


def compare(
    socket: Socket, now: Mapping[str, Position], before: Mapping[str, Position | None]
) -> int:
    """Remind a socket of what lags; return of how much."""
    lagging = [
        stream
        for stream, subscription in socket.subscriptions.items()
        if subscription.lags(now.get(stream), before.get(stream))
    ]
    for stream in lagging:
        socket.remind("catch_up", stream)
    return len(lagging)


def is_doubtful(socket: Socket, now: Mapping[str, Position]) -> bool:
    """Whether something was said of the user's rights, or something is gone that a socket follows."""
    rights = now.get(socket.rights)
    offset = 0 if rights is None else rights.offset
    is_news = offset > socket.rights_offset
    socket.rights_offset = max(offset, socket.rights_offset)
    return is_news or any(s.gone_since is not None for s in socket.subscriptions.values())


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Return the items, so many at a time."""
    known = list(items)
    return (known[start : start + size] for start in range(0, len(known), size))


def _streams(sockets: Iterable[Socket]) -> Iterator[str]:
    for socket in sockets:
        yield from socket.subscriptions
        yield socket.rights
