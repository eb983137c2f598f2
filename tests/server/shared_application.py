"""The ASGI application of a project that has consumers of its own beside ours, all in its own stack."""

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from pillarbox.routing import websocket_urlpatterns  # noqa: E402  # it needs the models


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """A consumer that sends each message of a client to all clients."""

    groups = ("chat",)

    async def receive_json(self, content):
        name = self.scope["user"].get_username()
        await self.channel_layer.group_send("chat", {"type": "say", "by": name, "text": content})

    async def say(self, event):
        await self.send_json([event["by"], event["text"]])


websocket = URLRouter([*websocket_urlpatterns, path("ws/chat/", ChatConsumer.as_asgi())])
application = ProtocolTypeRouter(
    {"http": http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(websocket))}
)
