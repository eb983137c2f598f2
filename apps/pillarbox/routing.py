"""The route of sockets, for a project's own router."""

from django.urls import path

from .sockets.consumers import NotificationConsumer
from .types.refusals import require_registrations

# Servers of sockets import this module, and run no system checks.
require_registrations()
#: The consumer checks the origin itself. It authenticates sockets itself if no middleware sets a user.
websocket_urlpatterns = [path("ws/notifications/", NotificationConsumer.as_asgi())]
