"""Draining in a test: rows are rendered, numbered and published in its own thread and transaction."""

from collections.abc import Sequence

from asgiref.sync import async_to_sync
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models import Q

from ..conditions import PUBLISHABLE
from ..conf import pillarbox_settings
from ..exceptions import NotDrainedError
from ..layer.publish import Published, publish
from ..models import OUTBOX, NotificationOutbox
from ..relay.claimed_rows import settle
from ..stream.numbering import number_overdue
from ..stream.rendering.batches.due_shards import shards_to_render
from ..stream.rendering.renderer import render_batch
from ..stream.rows import Row, read
from .overrides import patient_settings

USING = DEFAULT_DB_ALIAS
#: Rows count as overdue at once. They would not if their statement were the last one.
AT_ONCE = -1.0

# Rows of one transaction announce an object once, so these rows must not count as the same one as later
# rows. And no snapshot includes this id, so no end of a right hides a row that was written after it.
END_TRANSACTION = f"""
UPDATE {OUTBOX} SET transaction = {2**62} WHERE transaction = pg_current_xact_id()::text::bigint
"""


def drain() -> None:
    """
    Render, number and publish all rows that this thread's connection sees.

    In a `TestCase` this counts as the commit of everything written before, though the test's transaction
    stays open. Raises NotDrainedError if a row can't be rendered or published, or in an `atomic` block of
    the test.
    """
    with patient_settings():
        render_and_number()
        longest = pillarbox_settings().FRAME_BYTES
        while rows := read(PUBLISHABLE.sql, {}, longest=longest, using=USING):
            for row, outcome in zip(rows, async_to_sync(_publish_each)(rows), strict=True):
                for _, error in outcome.failures:
                    raise NotDrainedError(f"{row.event} on {row.stream}: {error!r}") from error
            settle(rows, using=USING)


def render_and_number() -> None:
    """Do the first two steps of `drain`, in `patient_settings`."""
    _refuse_atomic_block()
    while sum(render_batch(shard, using=USING) for shard in shards_to_render(using=USING)):
        pass
    while number_overdue(AT_ONCE, using=USING):
        pass
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(END_TRANSACTION)
    _raise_failure()


def _refuse_atomic_block() -> None:
    """Raise NotDrainedError in an `atomic` block, except those with which Django surrounds a test."""
    try:
        with transaction.atomic(durable=True):
            pass
    except RuntimeError as error:
        raise NotDrainedError(
            "A drain needs committed changes, but an atomic block is open. Leave it before you drain, and"
            " put `announced()` around it."
        ) from error


def _raise_failure() -> None:
    """Raise NotDrainedError, with the traceback, for the first row whose rendering failed."""
    failed = NotificationOutbox.objects.filter(~Q(error_type=""), published_at=None)
    if row := failed.order_by("pk").first():
        cause = row.error_traceback or row.error_message
        raise NotDrainedError(f"{row} can't be rendered: {row.error_type}\n{cause}")


async def _publish_each(rows: Sequence[Row]) -> list[Published]:
    """Publish rows one by one, so that each has a result of its own."""
    return [await publish([row]) for row in rows]
