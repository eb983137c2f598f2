"""The plain pattern, as tutorials show it: `group_send` in `save()`, and a JSON consumer."""

import os
from typing import Any

from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.rig.plain.settings")


def send(payload: dict[str, Any]) -> None:
    """Send a ticket's present state to its group and to its project's."""
    group_send = async_to_sync(get_channel_layer().group_send)
    for group in (f"ticket.{payload['id']}", f"project.tickets.{payload['project']}"):
        group_send(group, {"type": "notify", "group": group, "payload": payload})


class PlainConsumer(AsyncJsonWebsocketConsumer):
    """A consumer that joins groups on request, and forwards their messages."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Called when the client sends a frame."""
        group = f"{content['object_type']}.{content['id']}"
        await self.channel_layer.group_add(group, self.channel_name)
        await self.send_json({"type": "subscribed", "group": group})

    async def notify(self, message: dict[str, Any]) -> None:
        """Called when a group receives a message."""
        await self.send_json(
            {"type": "UPDATE_TICKET", "group": message["group"], "payload": message["payload"]}
        )


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/notifications/", PlainConsumer.as_asgi())]))
        ),
    }
)
