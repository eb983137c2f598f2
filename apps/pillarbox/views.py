"""The REST endpoint of one-time tokens."""

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from .conf import pillarbox_settings
from .sockets.access.one_time_tokens import make_token
from .sockets.access.users import is_user


class IsUser(BasePermission):
    """A permission of the project's users, and of no other objects that its API authenticates."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Called with each request."""
        return is_user(request.user)


class OneTimeTokenThrottle(UserRateThrottle):
    """The rate of tokens for one user. After a restart of the server, each page needs a new one."""

    scope, rate = "pillarbox_one_time_token", "60/min"


class OneTimeTokenView(APIView):
    """An endpoint that returns a token, with which the user of the request can open one socket."""

    permission_classes = [IsUser]
    throttle_classes = [OneTimeTokenThrottle]

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Called with each request. Returns the classes that sockets ask, too, at the moment."""
        classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        return [each() for each in classes]

    def post(self, request: Request) -> Response:
        """Return a new token, and for how many seconds it is valid."""
        body = {
            "token": make_token(request),
            "seconds": pillarbox_settings().ONE_TIME_TOKEN_SECONDS,
        }
        return Response(body, status=201, headers={"Cache-Control": "no-store"})
