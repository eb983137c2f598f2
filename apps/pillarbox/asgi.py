"""
The ASGI application of a project that has no other: Django's pages over HTTP, and the sockets.

Importing it sets Django up, so the environment must have ``DJANGO_SETTINGS_MODULE``.
"""

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.core.asgi import get_asgi_application
from django.urls import re_path

http = get_asgi_application()

# These need the models that get_asgi_application() loads.
from .routing import websocket_urlpatterns  # noqa: E402
from .server.lifespan import lifespan  # noqa: E402

#: Without the last route, a wrong path would log an exception.
websocket = URLRouter([*websocket_urlpatterns, re_path("", WebsocketDenier.as_asgi())])
application = ProtocolTypeRouter({"http": http, "websocket": websocket, "lifespan": lifespan})
