"""Failed attempts: a row is retried after a backoff, and failed after its last attempt."""

import hashlib
import logging
import random
import re
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from django.db import connections

from ..conditions import PENDING
from ..conf import pillarbox_settings
from ..exceptions import PayloadError
from ..logs import get_logger
from ..models import OUTBOX
from .backoff import backoff
from .redaction import without_secrets

logger = get_logger(__name__)

#: The most characters of an error's message, and of its traceback, that a row keeps.
LONGEST_ERROR = 20_000

RETRY = f"""
UPDATE {OUTBOX} AS row SET
    claims = claims + 1, attempts = attempts + 1,
    error_type = failure.type, error_message = failure.message, error_traceback = failure.traceback,
    error_fingerprint = failure.fingerprint,
    available_at = statement_timestamp() + failure.delay,
    failed_at = CASE WHEN attempts + 1 >= %s OR failure.is_final THEN statement_timestamp() END
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::interval[], %s::boolean[])
    AS failure (id, type, message, traceback, fingerprint, delay, is_final)
WHERE row.id = failure.id AND row.id = ANY(%s) AND {PENDING.sql}
RETURNING row.id, row.attempts, failed_at IS NOT NULL
"""

#: The parts of a message that vary between errors of one cause: quoted words, UUIDs, digests, numbers.
VARYING = re.compile(r"""'[^']*'|"[^"]*"|\b[\w.-]*\d[\w.-]*""")


class FailedAttempt(NamedTuple):
    """A failed attempt to render or publish one row."""

    pk: int
    #: The number of attempts that failed before.
    earlier_attempts: int
    error: Exception
    object_type: str = ""
    #: JSON text with the values that the error may quote; None if it wasn't loaded.
    quotable: str | None = None
    #: Keys of these values that are secret.
    omitted: Sequence[str] = ()
    event_id: str = ""


class Recorded(NamedTuple):
    """How many rows are tried again, and how many have failed."""

    retried: int = 0
    failed: int = 0


def record_and_log(
    failures: Sequence[FailedAttempt], *, using: str, message: str, action: str
) -> Recorded:
    """
    Record failed attempts as `record` does, and log one line for each kind of error.

    ``message`` and ``action`` are logged for the rows that are tried again.
    """
    by_pk = {one.pk: one for one in failures}
    kinds: dict[tuple[bool, type[Exception]], list[FailedAttempt]] = defaultdict(list)
    for pk, _, is_failed in record(failures, using=using):
        kinds[is_failed, type(by_pk[pk].error)].append(by_pk[pk])
    for (is_failed, _), alike in kinds.items():
        if is_failed:
            _log(logging.ERROR, "Row failed", "row_failed", alike)
        else:
            _log(logging.WARNING, message, action, alike)
    failed = sum(len(alike) for (is_failed, _), alike in kinds.items() if is_failed)
    return Recorded(sum(map(len, kinds.values())) - failed, failed)


def _log(level: int, message: str, action: str, alike: Sequence[FailedAttempt]) -> None:
    """Log failures with the same kind of error in one line, with the first one's error."""
    first = alike[0]
    words = _words(first.error, repr)
    error = without_secrets(words, first.object_type, first.quotable, first.omitted)
    extra = {"action": action, "outbox_id": first.pk, "rows": len(alike)}
    logger.log(level, message, extra={**extra, "event_id": first.event_id, "error": error})


def record(failures: Iterable[FailedAttempt], *, using: str) -> list[tuple[int, int, bool]]:
    """
    Record failed attempts without a log; return each row's primary key, attempts, and if it is failed now.

    There is at least one failure. A row is due again after its backoff, and failed after ``MAX_ATTEMPTS``.
    A PayloadError fails the row at once, since another attempt would raise it again. The row keeps the
    error's type, message and traceback, redacted. The caller holds the shard's publishing lock, or
    has taken the rows for rendering.
    """
    described = [_described(failure) for failure in failures]
    with connections[using].cursor() as cursor:
        pks, *texts = (list(column) for column in zip(*described, strict=True))
        cursor.execute(RETRY, [pillarbox_settings().MAX_ATTEMPTS, pks, *texts, pks])
        outcomes: list[tuple[int, int, bool]] = cursor.fetchall()
    return outcomes


def fingerprint(kind: str, message: str) -> str:
    """
    Return 16 hex digits that are the same for all errors of one cause.

    They are a hash of the exception's type and the first line of its message, without the parts that
    vary from row to row.
    """
    words = VARYING.sub("…", message.partition("\n")[0])
    return hashlib.sha256(f"{kind}: {words}".encode()).hexdigest()[:16]


def _described(failure: FailedAttempt) -> tuple[object, ...]:
    error = failure.error
    conf = pillarbox_settings()
    delay = backoff(
        failure.earlier_attempts + 1,
        base=conf.BACKOFF_BASE_SECONDS,
        ceiling=conf.BACKOFF_CEILING_SECONDS,
        jitter=random.random,
    )
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    message, text = (
        without_secrets(_storable(words), failure.object_type, failure.quotable, failure.omitted)
        for words in (_words(error, str), "".join(traceback.format_exception(error)))
    )
    message, text = message[:LONGEST_ERROR], text[-LONGEST_ERROR:]
    is_final = isinstance(error, PayloadError)
    return failure.pk, kind, message, text, fingerprint(kind, message), delay, is_final


def _words(error: Exception, spell: Callable[[Exception], str]) -> str:
    """Return an error as text, by `str` or `repr`; its type's name if the project's code for that raises."""
    try:
        return spell(error)
    except Exception:  # noqa: BLE001  # a ValidationError with wrong parameters raises a KeyError
        return type(error).__name__


def _storable(text: str) -> str:
    """Return text that PostgreSQL can store, so that no error message prevents recording the failure."""
    return text.encode(errors="replace").decode().replace("\0", "\N{SYMBOL FOR NULL}")
