"""HTTP and WebSocket, for Daphne."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()

from apps.realtime.routing import websocket  # noqa: E402  # models exist only after get_asgi_application()

application = ProtocolTypeRouter({"http": http, "websocket": websocket})
