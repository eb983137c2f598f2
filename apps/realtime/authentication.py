"""Who is at the other end of a socket."""

from collections.abc import Mapping
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
    has_token = "HTTP_AUTHORIZATION" in request.META
    user = _user_of_token(request) if has_token else _user_of_session(request)
    if user is None:
        raise RefusedError(CloseCode.NOT_AUTHENTICATED)
    return user


def authenticate_again(scopes: Mapping[Credentials, dict[str, Any]]) -> dict[Credentials, Any]:
    """
    Return the users whom handshakes that were good once stand for now; None for those that don't any more.

    Tokens take one query, each session what it takes to look at one.
    """
    keys = {known: known[0].split()[1] for known in scopes if known[0] is not None}
    model: Any = TokenAuthentication().get_model()
    tokens = model.objects.select_related("user").filter(key__in=set(keys.values()))
    users = {token.key: token.user for token in tokens}
    active = {key: user for key, user in users.items() if user.is_active}
    return {
        known: active.get(keys[known]) if known in keys else _user_of_session(_request(scope))
        for known, scope in scopes.items()
    }


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
        return None
    return None if found is None else found[0]


def _user_of_session(request: HttpRequest) -> Any:
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    # Django would renew a session signed with an old SECRET_KEY, and no answer could carry the cookie.
    for name in ("cycle_key", "flush"):
        setattr(request.session, name, lambda: None)
    user = get_user(request)
    return user if user.is_authenticated and user.is_active else None


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
