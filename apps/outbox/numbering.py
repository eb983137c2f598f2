"""Offsets: given to committed rows, once, before anyone sees them."""

from django.db import connections
from django.db.models import F

from .conf import outbox_settings
from .locks import numbering_lock, publishing_is_free
from .models import NotificationOutbox, Stream

NUMBER = """
WITH fresh AS MATERIALIZED (
    SELECT id, stream FROM {outbox}
    WHERE shard = %(shard)s AND "offset" IS NULL
    ORDER BY id LIMIT %(limit)s
), counted AS (
    SELECT stream, count(*) AS rows FROM fresh GROUP BY stream
), advanced AS (
    INSERT INTO {stream} AS known (name, shard, head)
    SELECT stream, %(shard)s, rows FROM counted ORDER BY stream
    ON CONFLICT (name) DO UPDATE SET head = known.head + EXCLUDED.head
    RETURNING name, head
), placed AS (
    SELECT fresh.id, head - rows + row_number() OVER (PARTITION BY stream ORDER BY id) AS "offset"
    FROM fresh JOIN counted USING (stream) JOIN advanced ON name = stream
)
UPDATE {outbox} AS row SET "offset" = placed."offset", claims = row.claims + %(claims)s
FROM placed WHERE row.id = placed.id
"""


def number(shard: int, *, using: str, claiming: bool) -> int:
    """
    Give a batch of the shard's committed rows their offsets; return how many rows got one.

    Offsets of a stream are 1, 2, 3 … without a gap, in the order in which the database serialized
    the changes of an object. ``claiming`` says that the caller will publish the rows next: it is
    recorded here because it must be committed before, and this saves a statement.
    """
    tables = {
        "outbox": NotificationOutbox._meta.db_table,
        "stream": Stream._meta.db_table,
    }
    values = {"shard": shard, "limit": outbox_settings().BATCH_ROWS}
    with numbering_lock(shard, using=using), connections[using].cursor() as cursor:
        # Where somebody else publishes, the rows are not taken, and a claim would say they were.
        values["claims"] = int(claiming and publishing_is_free(shard, using=using))
        if values["claims"]:
            _claim_again(shard, using)
        cursor.execute(NUMBER.format(**tables), values)
        return int(cursor.rowcount)


def _claim_again(shard: int, using: str) -> None:
    """Count a claim for rows that were numbered before: retries, and what a dead worker left."""
    outbox = NotificationOutbox.objects.using(using)
    due = outbox.due(shard).values_list("pk", flat=True)[: outbox_settings().BATCH_ROWS]
    if pks := list(due):
        outbox.filter(pk__in=pks).update(claims=F("claims") + 1)
