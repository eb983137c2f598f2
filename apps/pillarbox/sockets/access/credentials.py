"""Credentials that authenticated a socket's user. Each access check verifies them again."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from rest_framework.authentication import TokenAuthentication

from .rest_authentication import accepted_request
from .users import active_user, password_of


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    """A session of Django."""

    session_key: str = field(repr=False)
    expires_at: ClassVar[float] = math.inf

    def user(self) -> Any:
        """Return the session's user, if the session still exists."""
        # A quoted cookie may contain a NUL. No session key has one, and PostgreSQL raises an error for it.
        if "\0" in self.session_key:
            return None
        request: Any = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self.session_key)
        # Django would renew or flush a session with an old SECRET_KEY, but a socket can't set a new cookie.
        for name in ("cycle_key", "flush"):
            setattr(request.session, name, lambda: None)
        user = get_user(request)
        return user if user.is_authenticated and user.is_active else None


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """A token of DRF's own `TokenAuthentication`."""

    key: str = field(repr=False)
    session_key: ClassVar[str] = ""
    expires_at: ClassVar[float] = math.inf


@dataclass(frozen=True, slots=True)
class UserCredentials:
    """
    A user, authenticated in a way that can't be asked again, with the password at that time.

    If another user acts as this one, ``session_key`` is that of the other user's session.
    """

    pk: Any
    password: str | None = field(repr=False)
    session_key: str = field(default="", repr=False)
    expires_at: ClassVar[float] = math.inf

    def user(self) -> Any:
        """Return the user, if still active and with the same password, and if the session still exists."""
        if self.session_key and SessionCredentials(self.session_key).user() is None:
            return None
        user = active_user(self.pk)
        return user if user is not None and password_of(user) == self.password else None


@dataclass(frozen=True, slots=True, eq=False)
class RequestCredentials:
    """A handshake that DRF's authentication classes accept as a request."""

    scope: dict[str, Any] = field(repr=False)
    #: When the classes are asked again in any case, in Unix time.
    expires_at: float = math.inf
    session_key: ClassVar[str] = ""

    def user(self) -> Any:
        """Return the user, if the classes still accept the same request, and the user is active."""
        request = accepted_request(self.scope)
        return None if request is None else active_user(request.user.pk)


#: What a socket's user was authenticated by. Equal credentials have the same user.
Credentials = SessionCredentials | TokenCredentials | UserCredentials | RequestCredentials


def ask(every: Collection[Credentials]) -> dict[Credentials, Any]:
    """
    Return the current user of each of the credentials; None if they are no longer valid.

    One query asks for all tokens of DRF. All others are asked one by one.
    """
    users: dict[Credentials, Any] = {}
    for one in every:
        if not isinstance(one, TokenCredentials):
            users[one] = one.user()
    tokens = [one for one in every if isinstance(one, TokenCredentials)]
    return users | dict.fromkeys(tokens) | (_users_of_tokens(tokens) if tokens else {})


def _users_of_tokens(tokens: Collection[TokenCredentials]) -> dict[Credentials, Any]:
    model: Any = TokenAuthentication().get_model()
    found = model.objects.select_related("user").filter(key__in=[token.key for token in tokens])
    return {TokenCredentials(each.key): each.user for each in found if each.user.is_active}
