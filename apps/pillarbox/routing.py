"""The route of sockets, for a project's own router."""

from django.urls import path

from .sockets.consumers import NotificationConsumer

#: The consumer checks the origin itself. It authenticates sockets itself if no middleware sets a user.
websocket_urlpatterns = [path("ws/notifications/", NotificationConsumer.as_asgi())]
