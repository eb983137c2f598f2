"""The probes, which our Daphne answers itself: a project needs no middleware for them."""

from io import BytesIO
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIRequest

from ..monitoring.probes.responses import probe_response


def with_probes(application: Any) -> Any:
    """Return an ASGI application that answers probes, and passes everything else on."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        response = await _response(scope) if scope["type"] == "http" else None
        if response is None:
            await application(scope, receive, send)
            return
        headers = [(name.encode(), value.encode()) for name, value in response.items()]
        status = response.status_code
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})

    return serve


async def _response(scope: dict[str, Any]) -> Any:
    # Each request has a thread of its own, as Django's have: a hung database delays no other probe.
    async with ThreadSensitiveContext():
        return await sync_to_async(probe_response)(ASGIRequest(scope, BytesIO()))
