"""The rows of a stream that retention still keeps, and where the stream stands."""

from dataclasses import dataclass

from .models import NotificationOutbox, Stream, shard_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a reader stands: an offset, and the epoch in which it means something."""

    epoch: str
    offset: int


def head(stream: str, *, using: str) -> Position:
    """Return the position of the stream's last numbered row; the stream exists from then on."""
    streams = Stream.objects.using(using)
    found = streams.with_epoch().filter(name=stream).first()
    if found is None:
        # Another subscriber, or the relay, may create it in the same instant.
        streams.bulk_create([Stream(name=stream, shard=shard_of(stream))], ignore_conflicts=True)
        found = streams.with_epoch().get(name=stream)
    return Position(epoch=found.epoch, offset=found.head)


def after(stream: str, offset: int, limit: int, *, using: str) -> list[NotificationOutbox]:
    """Return up to ``limit`` numbered rows of the stream with higher offsets, in order."""
    rows = NotificationOutbox.objects.using(using).filter(stream=stream, offset__gt=offset)
    return list(rows.order_by("offset")[:limit])
