"""The outbox's settings: the dictionary ``OUTBOX``, read at each use."""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxSettings:
    """The values in force, and their defaults."""

    #: Dotted path of what wakes a worker; called with the database's alias after a commit.
    BELL: str = ""
    #: Dotted path of what has a worker carry out replays; called with the database's alias after a commit.
    REPLAY: str = ""
    #: Dotted path of the ``json.JSONEncoder`` whose ``default`` makes a payload's values JSON.
    JSON_ENCODER: str = "django.core.serializers.json.DjangoJSONEncoder"
    #: Dotted path of what takes from a payload, ``(object_type, payload)``, what operators mustn't see.
    REDACT: str = f"{__package__}.redaction.mask"
    #: How long a batch of rows may be rendered before other processes go on without it.
    RENDER_SECONDS: float = 30.0
    #: Rows numbered, and rows published, in one transaction.
    BATCH_ROWS: int = 1000
    #: Payloads published in one transaction may have this many bytes; one row may have more.
    BATCH_BYTES: int = 4_194_304
    #: A row whose publishing failed this often is failed.
    MAX_ATTEMPTS: int = 10
    #: Delay after the first failed attempt; it doubles with each further one, up to the ceiling.
    BACKOFF_BASE_SECONDS: float = 1.0
    BACKOFF_CEILING_SECONDS: float = 300.0
    #: PostgreSQL ends a worker's transaction that does nothing, or waits, for this long; its lock, too.
    LOCK_IDLE_SECONDS: float = 1.2
    #: Published rows are kept this long. They are the history from which clients resume.
    RETENTION_SECONDS: int = 7 * 24 * 3600
    #: Rows deleted in one transaction by `prune`.
    PRUNE_ROWS: int = 1000


def outbox_settings() -> OutboxSettings:
    """Return the settings in force. Raises ImproperlyConfigured, naming the key, if one is unknown."""
    return _made(**getattr(settings, "OUTBOX", {}))


@lru_cache  # they are asked for with every row
def _made(**given: Any) -> OutboxSettings:
    unknown = sorted(set(given) - {field.name for field in fields(OutboxSettings)})
    if unknown:
        raise ImproperlyConfigured(f"OUTBOX has no setting {', '.join(unknown)}.")
    return OutboxSettings(**given)
