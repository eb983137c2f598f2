"""Authentication of sockets: the user of a socket, and the credentials."""

import math
import time
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import DEFAULT_DB_ALIAS
from rest_framework.authentication import TokenAuthentication

from ...close_codes import CloseCode
from ...models import RIGHTS
from ...stream import history
from ...stream.history import Position
from .credentials import (
    Credentials,
    RequestCredentials,
    SessionCredentials,
    TokenCredentials,
    UserCredentials,
    ask,
)
from .handshake import HandshakeRefusedError, headers_of, request_of, trusts_cookies
from .rest_authentication import accepted_request, expiry_of
from .users import active_user, is_user, password_of

#: A user, and the credentials by which it was authenticated; None if there are none.
Authenticated = tuple[Any, Credentials] | None


def authenticate_handshake(scope: dict[str, Any]) -> tuple[Any, Credentials, Position]:
    """
    Return the user of a handshake, its credentials, and a position in the stream of ends of rights.

    The ends up to this position were committed before the authentication, which has seen their effects.
    Raises HandshakeRefusedError.
    """
    # The head is read first: otherwise an end committed between the two reads would count as checked.
    head = history.head(RIGHTS, using=DEFAULT_DB_ALIAS)
    return *authenticate(scope), head


def authenticate_token(user_pk: str, credentials: Credentials) -> tuple[Any, Credentials, Position]:
    """
    Do what `authenticate_handshake` does, for the credentials that a one-time token stands for.

    Raises HandshakeRefusedError if they aren't valid any more, or are another user's.
    """
    head = history.head(RIGHTS, using=DEFAULT_DB_ALIAS)
    user = ask([credentials])[credentials]
    if user is None or str(user.pk) != user_pk:
        raise HandshakeRefusedError(CloseCode.NOT_AUTHENTICATED)
    return user, credentials, head


def authenticate(scope: dict[str, Any]) -> tuple[Any, Credentials]:
    """
    Return the user of a handshake, and the credentials.

    The user of the project's middleware comes first or, without such a middleware, the user of the session
    cookie; then the user whom DRF's authentication classes find. Raises HandshakeRefusedError if there is
    none. Reads the database.
    """
    found = _by_middleware(scope) if "user" in scope else _by_cookie(scope)
    found = found or _by_request(scope)
    if found is None:
        is_forgeable = not trusts_cookies(scope) and "authorization" not in headers_of(scope)
        code = CloseCode.ORIGIN_REFUSED if is_forgeable else CloseCode.NOT_AUTHENTICATED
        raise HandshakeRefusedError(code)
    return found


def is_expired(scope: dict[str, Any]) -> bool:
    """
    Return whether the time has come that the project's middleware may have set, in Unix time.

    True also if it has set anything but a number, because a middleware that has failed lets nobody in.
    """
    end = scope.get("expires_at", math.inf)
    return not (isinstance(end, int | float) and end > time.time())  # NaN is above nothing


def _by_middleware(scope: dict[str, Any]) -> Authenticated:
    """Authenticate by the scope's user, whom the database is asked for again: the scope's may be outdated."""
    user = scope["user"]
    if not is_user(user):
        return None
    session: Any = scope.get("session") or {}
    owner = session.get(SESSION_KEY)
    if owner is None:
        return _by_row(user, "")
    found = _by_session(session.session_key) if trusts_cookies(scope) else None
    # The session's user may act as another one.
    return found if found is None or owner == str(user.pk) else _by_row(user, session.session_key)


def _by_row(user: Any, session_key: str) -> Authenticated:
    """Authenticate by the row of a user; ``session_key`` is of the session of another user who acts as it."""
    current = active_user(user.pk)
    # Without a password, the middleware has not read the row, so it can't have read an older one.
    password = password_of(user) or password_of(current)
    is_current = current is not None and password_of(current) == password
    return (current, UserCredentials(current.pk, password, session_key)) if is_current else None


def _by_cookie(scope: dict[str, Any]) -> Authenticated:
    return _by_session(request_of(scope).COOKIES.get(settings.SESSION_COOKIE_NAME, ""))


def _by_session(key: str) -> Authenticated:
    credentials = SessionCredentials(key)
    user = credentials.user()
    return None if user is None else (user, credentials)


def _by_request(scope: dict[str, Any]) -> Authenticated:
    request = accepted_request(scope)
    if request is None:
        return None
    if type(request.successful_authenticator) is TokenAuthentication:
        return request.user, TokenCredentials(request.auth.key)
    user = active_user(request.user.pk)
    return None if user is None else (user, RequestCredentials(scope, expiry_of(request)))
