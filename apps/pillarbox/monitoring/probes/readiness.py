"""The readiness of a web process or Daphne to serve clients."""

from threading import Event

from django.db import DEFAULT_DB_ALIAS

from ...layer.layers import layer_health
from ..schema import unapplied
from .cached_queries import CachedQuery

#: Set when the process was asked to stop.
stopping = Event()

_missing = CachedQuery(lambda: unapplied(using=DEFAULT_DB_ALIAS))


def readiness(*, serves_sockets: bool) -> dict[str, object]:
    """
    Return ``ready`` and the facts that decide it, as JSON.

    An outage of the channel layer doesn't count: sockets are served from the database meanwhile.
    """
    found: dict[str, object] = {"database": "ok", "migrations": "applied"}
    try:
        if _missing.result():
            found["migrations"] = "missing"
    except Exception:  # noqa: BLE001  # without the database no client can be served
        found = {"database": "away", "migrations": "unknown"}
    if stopping.is_set():
        found["stopping"] = True
    is_ready = found == {"database": "ok", "migrations": "applied"}
    if serves_sockets:
        found["channel_layer"] = "away" if layer_health() == "away" else "ok"
    return {"ready": is_ready, **found}
