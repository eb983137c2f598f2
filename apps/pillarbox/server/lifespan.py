"""The lifespan of a process that serves sockets, for ASGI servers that announce it, as most do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..layer.layers import layer_health
from ..monitoring.reporter import Reporter
from ..sockets.housekeeping.recurring import count_sockets


async def lifespan(
    scope: Any,  # part of the interface
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """
    Report this process from its start to its end, as our own Daphne does by itself.

    An ASGI application, for the key ``lifespan`` of a `ProtocolTypeRouter`.
    """
    reporter = Reporter("daphne", facts)
    await receive()  # the server starts
    reporter.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()  # the server ends
    await asyncio.to_thread(reporter.stop)
    await send({"type": "lifespan.shutdown.complete"})


def facts() -> dict[str, Any]:
    """Return the facts that this process reports, as values for JSON. May be called from any thread."""
    sockets, subscriptions = count_sockets()
    return {"sockets": sockets, "subscriptions": subscriptions, "layer": layer_health()}
