"""Where sockets arrive."""

from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from .consumers import NotificationConsumer

websocket = URLRouter(
    [
        path("ws/notifications/", NotificationConsumer.as_asgi()),
        # Without it, a wrong address would be an exception in the server's log.
        re_path("", WebsocketDenier.as_asgi()),
    ]
)
