"""The handshake of a socket: its headers, its origin, and the request that Django and DRF expect."""

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.request import validate_host

from ...close_codes import CloseCode

#: The subprotocol by which a client has a one-time token: with the token after a dot, or in its first frame.
SUBPROTOCOL = "pillarbox.token"
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


class HandshakeRefusedError(Exception):
    """A refused handshake, with the close code for its reason."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.name)
        self.code = code


def refuse_origin(scope: dict[str, Any]) -> None:
    """Raise HandshakeRefusedError if the handshake has an Origin that is not in ALLOWED_HOSTS."""
    origin = headers_of(scope).get("origin")
    if origin is not None and not _is_allowed(origin):
        raise HandshakeRefusedError(CloseCode.ORIGIN_REFUSED)


def trusts_cookies(scope: dict[str, Any]) -> bool:
    """
    Return whether the cookies of a handshake count: only with an Origin, which `refuse_origin` has checked.

    Browsers always send an Origin, and another site's page can make them send cookies, but no header.
    """
    headers = headers_of(scope)
    return "origin" in headers or "cookie" not in headers


def request_of(scope: dict[str, Any]) -> HttpRequest:
    """Convert a handshake into a GET request. It has cookies only if they count."""
    # A handshake has no body, and Django would parse the type of its content.
    ignored = {b"content-type"} if trusts_cookies(scope) else {b"content-type", b"cookie"}
    return ASGIRequest(
        {
            **scope,
            "method": "GET",
            "query_string": scope.get("query_string", b"").decode(errors="replace"),
            "headers": [
                (name, value) for name, value in scope["headers"] if name.lower() not in ignored
            ],
        },
        BytesIO(),
    )


def subprotocol_of(scope: dict[str, Any]) -> str | None:
    """
    Return the subprotocol with which a handshake is accepted: the first one offered, or none.

    A browser that has offered some closes the socket if none of them is accepted.
    """
    return next(iter(scope.get("subprotocols", ())), None) or None


def offered_token(scope: dict[str, Any]) -> str | None:
    """Return the one-time token of a handshake; None without one. It is empty if the first frame has it."""
    for offered in scope.get("subprotocols", ()):
        if offered == SUBPROTOCOL or offered.startswith(f"{SUBPROTOCOL}."):
            return str(offered[len(SUBPROTOCOL) + 1 :])
    return None


def headers_of(scope: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a handshake, by their names in lower case."""
    return {
        name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]
    }


def _is_allowed(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    return validate_host(f"[{host}]" if ":" in host else host, allowed)
