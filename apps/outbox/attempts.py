"""Publishing this very row failed: it is tried again after a backoff, and failed in the end."""

import hashlib
import random
import re
import traceback
from collections.abc import Iterable

from django.db import connections

from .backoff import backoff
from .conf import outbox_settings
from .models import NotificationOutbox
from .redaction import without_secrets

LONGEST_ERROR = 20_000

RETRY = f"""
UPDATE {NotificationOutbox._meta.db_table} AS row SET
    claims = claims + 1, attempts = attempts + 1,
    error_type = failure.type, error_message = failure.message, error_traceback = failure.traceback,
    error_fingerprint = failure.fingerprint,
    available_at = statement_timestamp() + failure.delay,
    failed_at = CASE WHEN attempts + 1 >= %s THEN statement_timestamp() END
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::interval[])
    AS failure (id, type, message, traceback, fingerprint, delay)
WHERE row.id = failure.id AND row.id = ANY(%s) AND published_at IS NULL AND failed_at IS NULL
RETURNING row.id, row.attempts, failed_at IS NOT NULL
"""

#: What differs between errors of one cause: quoted words, UUIDs, digests and other numbers.
VARYING = re.compile(r"""'[^']*'|"[^"]*"|\b[\w.-]*\d[\w.-]*""")

#: The primary key of a row, the attempts it had before, and what went wrong this time; its object type and
#: its payload, JSON text, if somebody has loaded it.
Failure = tuple[int, int, Exception] | tuple[int, int, Exception, str, str | None]


def retry(failures: Iterable[Failure], *, using: str) -> list[tuple[int, int, bool]]:
    """
    Record failed attempts, one at least; return each row's primary key, attempts, and whether it is failed.

    A row is due again after its backoff, and failed after ``MAX_ATTEMPTS``. The error's type, message
    and traceback are kept, redacted. The caller holds the publishing lock.
    """
    described = [_described(*failure) for failure in failures]
    with connections[using].cursor() as cursor:
        pks, *texts = (list(column) for column in zip(*described, strict=True))
        cursor.execute(RETRY, [outbox_settings().MAX_ATTEMPTS, pks, *texts, pks])
        outcomes: list[tuple[int, int, bool]] = cursor.fetchall()
    return outcomes


def fingerprint(kind: str, message: str) -> str:
    """
    Return 16 hex digits that errors of one cause share.

    Of the exception's type and the first line of its message, but for what varies from row to row.
    """
    words = VARYING.sub("…", message.partition("\n")[0])
    return hashlib.sha256(f"{kind}: {words}".encode()).hexdigest()[:16]


def _described(
    pk: int, attempts: int, error: Exception, object_type: str = "", payload: str | None = None
) -> tuple[object, ...]:
    conf = outbox_settings()
    delay = backoff(
        attempts + 1,
        base=conf.BACKOFF_BASE_SECONDS,
        ceiling=conf.BACKOFF_CEILING_SECONDS,
        jitter=random.random,
    )
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    message, text = (
        without_secrets(_storable(words), object_type, payload)
        for words in (str(error), "".join(traceback.format_exception(error)))
    )
    message, text = message[:LONGEST_ERROR], text[-LONGEST_ERROR:]
    return pk, kind, message, text, fingerprint(kind, message), delay


def _storable(text: str) -> str:
    """Return text as PostgreSQL takes it: whatever an exception says, it must not poison the outcome."""
    return text.encode(errors="replace").decode().replace("\0", "\N{SYMBOL FOR NULL}")
