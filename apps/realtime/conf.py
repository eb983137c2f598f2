"""The live half's settings: the dictionary ``REALTIME``, read at each use."""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, kw_only=True, slots=True)
class RealtimeSettings:
    """The values in force, and their defaults."""

    #: Shuffles the alphabet of the hashids. Changing it changes every public id.
    HASHID_SALT: str = ""
    #: No hashid is shorter.
    HASHID_LENGTH: int = 5
    #: A frame from a client may have this many bytes; Daphne closes with 1009 above it.
    COMMAND_BYTES: int = 16_384
    #: Commands of one socket, over time. It may save up as many as it takes to subscribe to everything.
    COMMANDS_PER_SECOND: int = 50
    #: Frames without sense, one after the other, until the socket is closed.
    MALFORMED_FRAMES: int = 10
    #: Subscriptions of one socket.
    SUBSCRIPTIONS: int = 200
    #: Sockets of one user, in one process.
    SOCKETS_PER_USER: int = 50
    #: Notifications read from the database at once, when a socket catches up.
    CATCH_UP_ROWS: int = 100
    #: Objects in one frame of a collection's snapshot.
    SNAPSHOT_ROWS: int = 100
    #: A frame longer than this goes over the channel layer as a hint, and is read from the database.
    FRAME_BYTES: int = 262_144
    #: The window in which a client that lost its socket comes back, at a random moment.
    RECONNECT_MIN_MS: int = 500
    RECONNECT_MAX_MS: int = 20_000
    #: The server pings a socket this often; unheard of for twice as long, it is closed with 4408.
    HEARTBEAT_SECONDS: int = 25
    #: The head of an HTTP request, a socket's handshake too, may take this long.
    HANDSHAKE_SECONDS: int = 10
    #: A push that got lost is found and made good within this time.
    POSITION_CHECK_SECONDS: float = 5.0
    #: A lost right that nobody announces is noticed within this time.
    REAUTHORISE_SECONDS: float = 60.0
    #: A client that has not read what waits for it after this time is cut off.
    SLOW_SECONDS: float = 30.0
    #: Threads of one process that serve its sockets' reads, and how long each may take, waiting included.
    DATABASE_THREADS: int = 4
    DATABASE_SECONDS: float = 5.0
    #: Publishing a batch may take this long. Below the outbox's LOCK_IDLE_SECONDS.
    PUBLISH_SECONDS: float = 0.8


def realtime_settings() -> RealtimeSettings:
    """Return the settings in force. Raises ImproperlyConfigured, naming the key, if one is unknown."""
    return _made(**getattr(settings, "REALTIME", {}))


@lru_cache  # they are asked for with every row
def _made(**given: Any) -> RealtimeSettings:
    unknown = sorted(set(given) - {field.name for field in fields(RealtimeSettings)})
    if unknown:
        raise ImproperlyConfigured(f"REALTIME has no setting {', '.join(unknown)}.")
    return RealtimeSettings(**given)
