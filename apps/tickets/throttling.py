"""Limits of sign-in attempts, each of which hashes a password and occupies a core for a while."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from ipaddress import IPv6Address, ip_address, ip_network
from threading import BoundedSemaphore
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle

from .refusals import too_many

View = Callable[..., HttpResponseBase]

#: Attempts of this process that may hash a password at once. Its other two threads serve everything else.
AT_ONCE, AGAIN_SECONDS = 2, 1
_slots = BoundedSemaphore(AT_ONCE)


class _SignInRate(SimpleRateThrottle):
    """A throttle of DRF whose rate is read at each use."""

    def get_rate(self) -> Any:
        return api_settings.DEFAULT_THROTTLE_RATES[str(self.scope)]

    def get_cache_key(self, request: Any, view: Any) -> str:
        # Cache keys must be short, without blanks or control characters.
        ident = hashlib.sha256(self.ident(request).encode(errors="replace")).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def ident(self, request: Any) -> str:
        """Return the key under which attempts are counted."""
        raise NotImplementedError  # pragma: no cover


class AddressRate(_SignInRate):
    """The rate of attempts from one address or, with IPv6, from one network, since a client has all of it."""

    scope = "sign_in_address"

    def ident(self, request: Any) -> str:
        ident = str(self.get_ident(request))
        try:
            address = ip_address(ident)
        except ValueError:  # a Unix socket, or a name that a proxy made up
            return ident
        is_long = isinstance(address, IPv6Address)
        return str(ip_network((address, 64), strict=False)) if is_long else ident


class NameRate(_SignInRate):
    """The rate of attempts with one name, whether or not the user exists."""

    scope = "sign_in_name"

    def ident(self, request: Any) -> str:
        sent = request.data if isinstance(request, Request) else request.POST
        name = sent.get("username", "") if isinstance(sent, Mapping) else ""
        return str(name).strip().casefold()


class SignInThrottle(BaseThrottle):
    """A throttle by address, then by name, so that refused addresses add no names to the cache."""

    def __init__(self) -> None:
        self.rates = [AddressRate(), NameRate()]
        self.refused: SimpleRateThrottle | None = None

    def allow_request(self, request: Any, view: Any) -> bool:
        """Count an attempt, and return whether it is allowed."""
        refused = (rate for rate in self.rates if not rate.allow_request(request, view))
        self.refused = next(refused, None)
        return self.refused is None

    def wait(self) -> float | None:
        """Return the seconds until the next attempt is allowed."""
        return None if self.refused is None else self.refused.wait()


@contextmanager
def hashing_slot() -> Iterator[None]:
    """Occupy one of the slots for attempts that hash a password. Raises Throttled if none is free."""
    if not _slots.acquire(blocking=False):
        raise Throttled(wait=AGAIN_SECONDS)
    try:
        yield
    finally:
        _slots.release()


def throttled(view: View) -> View:
    """Return the sign-in view with limits on attempts per minute, and on concurrent ones."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        throttle = SignInThrottle()
        if not throttle.allow_request(request, None):
            return too_many(math.ceil(throttle.wait() or 1))
        try:
            with hashing_slot():
                return view(request, *args, **kwargs)
        except Throttled:
            return too_many(AGAIN_SECONDS)

    return answer
