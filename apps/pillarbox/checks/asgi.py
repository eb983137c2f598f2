"""The system check of the ASGI application."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004


@register()
def application_serves_sockets(**_: Any) -> list[CheckMessage]:
    """Check that ``ASGI_APPLICATION`` isn't the one that `startproject` writes, which serves pages only."""
    module = str(getattr(settings, "ASGI_APPLICATION", None) or "").rpartition(".")[0]
    if not _serves_pages_only(_source(module)):
        return []
    hint = 'ASGI_APPLICATION = "pillarbox.asgi.application", or add websocket_urlpatterns of '
    hint += "pillarbox.routing to a ProtocolTypeRouter of your own."
    return [Warning(f"{module} serves no sockets.", hint=hint, id="pillarbox.W204")]


def _source(module: str) -> str:
    """Return a module's source without importing it, which would set Django up again; empty if unknown."""
    try:
        spec = find_spec(module) if module else None
        return Path(spec.origin).read_text() if spec and spec.origin else ""
    except (ImportError, ValueError, OSError):  # the server that serves it names it
        return ""


def _serves_pages_only(source: str) -> bool:
    return "get_asgi_application" in source and "websocket" not in source
