"""Workers that died with claimed rows: one of these rows may have killed them."""

from django.db import connections

from ..conditions import PUBLISHABLE
from ..exceptions import WorkerDiedError
from ..models import CLAIMS, OUTBOX
from ..stream.attempts import FailedAttempt, record
from ..stream.batch_sizes import FORGIVEN_DEATHS
from .claimed_rows import release

ABANDONED = f"""
SELECT id, attempts, claims - attempts FROM {OUTBOX}
WHERE id = ANY((SELECT rows FROM {CLAIMS} WHERE shard = %s)::bigint[]) AND {PUBLISHABLE.sql}
"""
COUNT_DEATHS = f"UPDATE {OUTBOX} SET claims = claims + 1 WHERE id = ANY(%s) AND {PUBLISHABLE.sql}"


def count_deaths(shard: int, *, using: str) -> tuple[int, list[int]]:
    """
    Clear an abandoned claim and count one more death for each of its pending rows.

    Return how many rows there are, and the primary keys of those that are failed now.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(ABANDONED, [shard])
        if not (left := cursor.fetchall()):
            return 0, []
        release(shard, using=using)
        (pk, attempts, deaths), is_alone = left[0], len(left) == 1
        if is_alone and deaths >= FORGIVEN_DEATHS:
            outcomes = record([FailedAttempt(pk, attempts, WorkerDiedError(deaths))], using=using)
            return 1, [pk for pk, _, is_failed in outcomes if is_failed]
        cursor.execute(COUNT_DEATHS, [[pk for pk, *_ in left]])
    return len(left), []
