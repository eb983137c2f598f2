"""What the relay's tests announce, and what they see of it."""

from itertools import islice

from django.db import DEFAULT_DB_ALIAS

from apps.outbox.capture import Notification, capture
from apps.outbox.models import shard_of

USING = DEFAULT_DB_ALIAS


def announce(pk=1, count=1, object_type="ticket", payload="{}"):
    """Commit rows of a ticket's stream, each in a transaction."""
    for _ in range(count):
        capture(
            [
                Notification(
                    stream=f"ticket:{pk}",
                    event="UPDATE_TICKET",
                    object_type=object_type,
                    object_id=str(pk),
                    payload=payload,
                )
            ],
            using=USING,
        )


def backlog(rows, *, streams, payload="{}"):
    """Commit many rows at once, evenly over the streams."""
    capture(
        [
            Notification(
                stream=f"ticket:{number % streams}",
                event="UPDATE_TICKET",
                object_type="ticket",
                object_id="1",
                payload=payload,
            )
            for number in range(rows)
        ],
        using=USING,
    )


def of_one_shard(count):
    """Return primary keys of tickets whose streams are in the shard of ticket 1."""
    pks = (pk for pk in range(1, 10_000) if shard_of(f"ticket:{pk}") == shard_of("ticket:1"))
    return list(islice(pks, count))


def offsets(sent, pk):
    """Return the offsets that a recording layer was sent on a ticket's stream, in order."""
    return [message["offset"] for _, message in sent if message["stream"] == f"ticket:{pk}"]
