"""The plain pattern's consumer, and its ASGI application."""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path


class PlainConsumer(AsyncJsonWebsocketConsumer):
    """A consumer that joins the group a client asks for, and forwards its messages."""

    async def connect(self) -> None:
        """Called when a client connects. Accepts every client."""
        await self.accept()
        await self.send_json({"type": "hello"})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Called with each frame of the client. Takes it for a subscribe request."""
        await self.channel_layer.group_add(
            f"{content['object_type']}.{content['id']}", self.channel_name
        )
        await self.send_json({"type": "subscribed"})

    async def notify(self, message: dict[str, Any]) -> None:
        """Called with each message of a group. Sends it to the client."""
        await self.send_json({"type": "UPDATE_TICKET", "payload": message["payload"]})


websocket = URLRouter([path("ws/notifications/", PlainConsumer.as_asgi())])
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(websocket)),
    }
)
