"""Who is at the other end of a socket."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.cookie import parse_cookie
from django.http.request import validate_host
from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from .close_codes import CloseCode

#: The authorization header, or else the key of the session.
Credentials = tuple[str | None, str | None]

LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


class RefusedError(Exception):
    """A socket is refused, with the close code that says why."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.name)
        self.code = code


def refuse_origin(scope: dict[str, Any]) -> None:
    """
    Raise RefusedError unless the socket's origin is one of ALLOWED_HOSTS.

    A browser always names it. Without one, only a token will do, which no page can make a browser send.
    """
    headers = _headers(scope)
    origin = headers.get("origin")
    if origin is None:
        if "authorization" not in headers and "cookie" in headers:
            raise RefusedError(CloseCode.ORIGIN_REFUSED)
    elif not _is_allowed(origin):
        raise RefusedError(CloseCode.ORIGIN_REFUSED)


def authenticate(scope: dict[str, Any]) -> Any:
    """
    Return the user of the socket's token or, without one, of its session cookie.

    Raises RefusedError if there is none. Reads the database.
    """
    request = _request(scope)
    if "HTTP_AUTHORIZATION" in request.META:
        return _user_of_token(request)
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    user = get_user(request)
    if not (user.is_authenticated and user.is_active):
        raise RefusedError(CloseCode.NOT_AUTHENTICATED)
    return user


def credentials(scope: dict[str, Any]) -> Credentials:
    """Return what `authenticate` goes by."""
    request = _request(scope)
    header = request.META.get("HTTP_AUTHORIZATION")
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return header, session if header is None else None


def _user_of_token(request: HttpRequest) -> Any:
    try:
        found = TokenAuthentication().authenticate(request)  # type: ignore[arg-type]
    except AuthenticationFailed:
        found = None
    if found is None:
        raise RefusedError(CloseCode.NOT_AUTHENTICATED)
    return found[0]


def _is_allowed(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    return validate_host(f"[{host}]" if ":" in host else host, allowed)


def _request(scope: dict[str, Any]) -> HttpRequest:
    """Return the handshake as the request that Django's and DRF's authentication expect."""
    headers = _headers(scope)
    request = HttpRequest()
    request.COOKIES = parse_cookie(headers.get("cookie", ""))
    if "authorization" in headers:
        request.META["HTTP_AUTHORIZATION"] = headers["authorization"]
    return request


def _headers(scope: dict[str, Any]) -> dict[str, str]:
    return {
        name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]
    }
