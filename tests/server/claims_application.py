"""The ASGI application of a project whose own middleware knows whose a socket is: from signed claims."""

from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core import signing
from django.core.asgi import get_asgi_application

http = get_asgi_application()

from django.contrib.auth import get_user_model  # noqa: E402  # needs the models
from django.contrib.auth.models import AnonymousUser  # noqa: E402
from django.utils.functional import SimpleLazyObject  # noqa: E402

from pillarbox.routing import websocket_urlpatterns  # noqa: E402


class ClaimsMiddleware(BaseMiddleware):
    """A middleware that sets the user, and when the claims expire, from the subprotocol after ``claims``."""

    async def __call__(self, scope, receive, send):
        scope = {**scope, "user": AnonymousUser()}
        if scope["subprotocols"][:1] == ["claims"]:
            claims = signing.loads(scope["subprotocols"][1].replace("~", ":"))
            user = SimpleLazyObject(lambda: get_user_model().objects.get(username=claims["sub"]))
            scope |= {"user": user, "expires_at": claims["exp"]}
        await super().__call__(scope, receive, send)


application = ProtocolTypeRouter(
    {"http": http, "websocket": ClaimsMiddleware(URLRouter(websocket_urlpatterns))}
)
