"""DRF's authentication classes, asked with the handshake as a request."""

import math
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request
from rest_framework.settings import api_settings

from .handshake import request_of
from .users import is_user

#: Exceptions by which a class refuses. Any other is a failure, and says nothing about the credentials.
REFUSALS = (AuthenticationFailed, NotAuthenticated, PermissionDenied, DjangoPermissionDenied)


def accepted_request(scope: dict[str, Any]) -> Request | None:
    """
    Return a handshake as a request that one of ``DEFAULT_AUTHENTICATION_CLASSES`` has authenticated.

    None if none of them knows a user of the project, or one refuses. `BasicAuthentication` is not asked: no
    throttle would limit attempts, and each access check would hash the password.
    """
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    authenticators = [each() for each in classes if not issubclass(each, BasicAuthentication)]
    request = Request(request_of(scope), authenticators=authenticators)
    try:
        user: Any = request.user
    except REFUSALS:
        return None
    return request if is_user(user) else None


def expiry_of(request: Request) -> float:
    """
    Return when the JWT of an authenticated request expires, in Unix time: by its claims in ``request.auth``.

    They are a mapping, or in the attribute ``payload`` of Simple JWT. Infinity if there is none.
    """
    claims = getattr(request.auth, "payload", request.auth)
    end = claims.get("exp") if isinstance(claims, Mapping) else None
    return end if isinstance(end, int | float) else math.inf
