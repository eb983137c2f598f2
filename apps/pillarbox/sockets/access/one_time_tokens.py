"""
One-time tokens: each opens one socket, with the credentials of the request that has fetched it.

The database has a digest of the token, and the credentials, signed by Django's `Signer` and then encrypted
with a key stream of SHAKE-256. Its key is the token, 256 random bits for one message, so none is used twice.
So a row can be read with the token only, and written with `SECRET_KEY` only.
"""

import json
import secrets
from dataclasses import asdict
from datetime import timedelta
from hashlib import sha256, shake_256
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.core.signing import BadSignature, Signer
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BasicAuthentication, TokenAuthentication
from rest_framework.request import Request

from ...conf import pillarbox_settings
from ...models import OneTimeToken
from .credentials import (
    Credentials,
    RequestCredentials,
    SessionCredentials,
    TokenCredentials,
    UserCredentials,
)
from .rest_authentication import expiry_of
from .users import password_of

KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (RequestCredentials, SessionCredentials, TokenCredentials, UserCredentials)
}


@sensitive_variables()
def make_token(request: Request) -> str:
    """Return a new token, which stands for the user of an authenticated request and its credentials."""
    token, credentials = secrets.token_urlsafe(32), _credentials_of(request)
    content = [str(request.user.pk), type(credentials).__name__, asdict(credentials)]
    OneTimeToken.objects.using(DEFAULT_DB_ALIAS).create(
        digest=_digest(token),
        sealed=_encrypted(_signer(token).sign(json.dumps(content, default=_text)).encode(), token),
        expires_at=Now() + timedelta(seconds=pillarbox_settings().ONE_TIME_TOKEN_SECONDS),
    )
    return token


@sensitive_variables()
def take(token: str) -> tuple[str, Credentials] | None:
    """
    Use a token up, and return its user's primary key, as text, and the credentials that it stands for.

    Returns None if it is unknown, used or expired, or if its row is forged. Commit the transaction
    afterwards, or it stays valid.
    """
    # Of several that take it at once, one locks the row. The others wait, and then find none.
    rows = OneTimeToken.objects.using(DEFAULT_DB_ALIAS).select_for_update()
    row = rows.filter(digest=_digest(token), expires_at__gt=Now()).first()
    if row is None:
        return None
    row.delete(using=DEFAULT_DB_ALIAS)
    try:
        content = _signer(token).unsign(_encrypted(bytes(row.sealed), token).decode("latin1"))
    except BadSignature:
        return None
    user_pk, kind, values = json.loads(content)
    if kind == RequestCredentials.__name__:
        scope = values["scope"]
        scope["headers"] = [tuple(map(_bytes, it)) for it in scope["headers"]]
        scope["query_string"] = _bytes(scope["query_string"])
    return user_pk, KINDS[kind](**values)


@sensitive_variables()
def _credentials_of(request: Request) -> Credentials:
    """Return the credentials by which a request was authenticated."""
    session: Any = getattr(request, "session", {})
    user = request.user
    if session.get(SESSION_KEY) == str(user.pk):
        return SessionCredentials(session.session_key)
    authenticator = request.successful_authenticator
    if type(authenticator) is TokenAuthentication:
        return TokenCredentials(request.auth.key)
    if isinstance(authenticator, BasicAuthentication):
        return UserCredentials(user.pk, password_of(user))
    return RequestCredentials(_scope_of(request), expiry_of(request))


@sensitive_variables()
def _scope_of(request: Request) -> dict[str, Any]:
    """Return the scope of a handshake that is authenticated as a request is."""
    headers = request.headers.items()
    return {
        "path": request.path,
        "query_string": request.META.get("QUERY_STRING", "").encode(),
        "headers": [(name.lower().encode(), value.encode("latin1")) for name, value in headers],
        "client": [request.META.get("REMOTE_ADDR", ""), 0],
    }


def _text(value: Any) -> str:
    """Return a value of credentials that JSON doesn't know, as text."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _bytes(text: str) -> bytes:
    """Return the bytes that `_text` has made text of."""
    return text.encode("latin1")


def _digest(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


@sensitive_variables()
def _signer(token: str) -> Signer:
    """Return a signer for the row of a token, so that a signature is worth nothing in another row."""
    return Signer(salt=f"{__name__}.{_digest(token)}")


@sensitive_variables()
def _encrypted(content: bytes, token: str) -> bytes:
    """Encrypt or decrypt a content with a key stream made of its token."""
    stream = shake_256(token.encode()).digest(len(content))
    return bytes(one ^ other for one, other in zip(content, stream, strict=True))
