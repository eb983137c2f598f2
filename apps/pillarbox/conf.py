"""The settings: the dictionary ``PILLARBOX``, read at each use."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Type of a setting → the types of its values, and these in words.
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    str | Path: ((str, Path), "a path"),
    int: ((int, float), "a number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "True or False"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PillarboxSettings:
    """The settings in force, with their defaults."""

    #: Dotted path of a function that wakes a worker up. It gets the database's alias, after a commit. The
    #: default wakes `manage.py pillarbox run`, by Redis.
    WAKE_UP: str = f"{__package__}.relay.wake_ups.wake_up"
    #: Dotted path of a function that asks a worker to carry out replays. It gets the database's alias, after
    #: a commit.
    REPLAY: str = ""
    #: The alias of the channel layer in CHANNEL_LAYERS.
    CHANNEL_LAYER: str = "default"
    #: Dotted path of the project's Celery app, imported when it is needed. Empty: Celery's current app.
    CELERY_APP: str = ""
    #: The name of the queue of our Celery tasks.
    CELERY_QUEUE: str = "pillarbox"
    #: The address of the Redis for wake-ups. Empty: the first host of the channel layer.
    REDIS_URL: str = ""
    #: Dotted path of the ``json.JSONEncoder`` whose ``default`` converts a payload's values to JSON.
    JSON_ENCODER: str = "django.core.serializers.json.DjangoJSONEncoder"
    #: Dotted path of a function that redacts a payload for operators: ``(object_type, payload)``.
    REDACT: str = f"{__package__}.stream.redaction.mask"
    #: The longest time to render a batch. After it the process ends, and others take the batch.
    RENDER_SECONDS: float = 30.0
    #: The most rows numbered, and rows published, in one transaction.
    BATCH_ROWS: int = 1000
    #: The most bytes of payload published in one transaction; a single row may have more.
    BATCH_BYTES: int = 4_194_304
    #: A row is failed after this many failed attempts.
    MAX_ATTEMPTS: int = 10
    #: Delay after the first failed attempt; it doubles with each further one, up to the ceiling.
    BACKOFF_BASE_SECONDS: float = 1.0
    BACKOFF_CEILING_SECONDS: float = 300.0
    #: PostgreSQL ends a transaction that holds a shard's lock and idles, or waits for a lock, for this long.
    LOCK_IDLE_SECONDS: float = 1.2
    #: How long published rows are kept. They are the history from which clients resume.
    RETENTION_SECONDS: int = 7 * 24 * 3600
    #: The most rows that `prune` deletes in one transaction.
    PRUNE_ROWS: int = 1000
    #: Shuffles the alphabet of the hashids. Changing it changes every public id.
    HASHID_SALT: str = ""
    #: The minimum length of a hashid.
    HASHID_LENGTH: int = 5
    #: The maximum size of a client's frame. Daphne closes the socket with 1009 for a larger one.
    COMMAND_BYTES: int = 16_384
    #: The rate limit of one socket. After a pause, a burst may include SUBSCRIPTIONS more commands.
    COMMANDS_PER_SECOND: int = 50
    #: The number of malformed frames, with no valid command in between, that closes the socket.
    MALFORMED_FRAMES: int = 10
    #: The maximum number of subscriptions of one socket.
    SUBSCRIPTIONS: int = 200
    #: The maximum number of a user's sockets in one process.
    SOCKETS_PER_USER: int = 50
    #: The number of notifications in one page of a catch-up.
    CATCH_UP_ROWS: int = 100
    #: The number of objects in one page of a collection's snapshot.
    SNAPSHOT_ROWS: int = 100
    #: The maximum size of a frame on the channel layer. Sockets read a larger one from the database.
    FRAME_BYTES: int = 262_144
    #: The window in which a client reconnects, at a random moment.
    RECONNECT_MIN_MS: int = 500
    RECONNECT_MAX_MS: int = 20_000
    #: The interval of the server's pings. After twice this silence, a socket is closed with 4408.
    HEARTBEAT_SECONDS: int = 25
    #: The time limit for the head of an HTTP request, and of a WebSocket handshake.
    HANDSHAKE_SECONDS: int = 10
    #: The time within which a lost message is noticed, and its rows are sent from the database.
    POSITION_CHECK_SECONDS: float = 5.0
    #: The time within which a lost right takes effect if no end of a right announces it.
    REAUTHORISE_SECONDS: float = 60.0
    #: The time after which a client that has stopped reading is disconnected.
    SLOW_SECONDS: float = 30.0
    #: How long a one-time token, which opens one socket, is valid.
    ONE_TIME_TOKEN_SECONDS: int = 30
    #: Database threads of a process for its sockets, and the time limit of a read, waiting included.
    DATABASE_THREADS: int = 4
    DATABASE_SECONDS: float = 5.0
    #: The time limit for publishing a batch. Must be below LOCK_IDLE_SECONDS.
    PUBLISH_SECONDS: float = 0.8
    #: The bearer token that ``/metrics`` asks for. Empty: only this machine may read the metrics.
    METRICS_TOKEN: str = ""
    #: The port on which a worker serves ``/metrics``; 0 for none. With a token it listens on METRICS_HOST.
    METRICS_PORT: int = 0
    METRICS_HOST: str = "0.0.0.0"  # noqa: S104
    #: The folder in which processes of one server share their metrics. Empty: in the system's temporary one.
    METRICS_FOLDER: str | Path = ""
    #: Whether our Daphne writes its access log, which is text.
    ACCESS_LOG: bool = True


def pillarbox_settings() -> PillarboxSettings:
    """Return the settings in force. Raises ImproperlyConfigured, naming each unknown key and wrong value."""
    given = getattr(settings, "PILLARBOX", {})
    try:
        return _made(**given)
    except TypeError:  # it is no dictionary, or has a value that can't be a key of the cache
        raise ImproperlyConfigured(" ".join(_mistakes(given))) from None


@lru_cache  # settings are read for every row
def _made(**given: Any) -> PillarboxSettings:
    if mistakes := " ".join(_mistakes(given)):
        raise ImproperlyConfigured(mistakes)
    return PillarboxSettings(**given)


def _mistakes(given: Any) -> Iterator[str]:
    """Yield a sentence about each unknown key, and about each value of a wrong type. Values may be secret."""
    if not isinstance(given, Mapping):
        yield f"PILLARBOX is a {type(given).__name__}: expected a dictionary."
        return
    known = {field.name: field.type for field in fields(PillarboxSettings)}
    for key in sorted(set(given) - set(known), key=str):
        yield f"PILLARBOX has no setting {key}."
    for key in [key for key in known if key in given]:
        kinds, expected = KINDS[known[key]]
        # A bool is an int to Python.
        if not isinstance(given[key], kinds) or (
            isinstance(given[key], bool) and bool not in kinds
        ):
            yield f'PILLARBOX["{key}"] is a {type(given[key]).__name__}: expected {expected}.'
