"""Channel layers that lose three messages in ten for as long as a file is there. Chosen in settings."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from channels_redis.core import RedisChannelLayer
from django.conf import settings

from apps.realtime.layers import NotificationChannelLayer

#: The file, in DATA_DIR.
SIGN = "lossy"
LOSS = 0.3


def sign() -> Path:
    """Return the file that makes the layers lose."""
    return Path(settings.DATA_DIR) / SIGN


def _passes() -> bool:
    return random.random() >= LOSS  # noqa: S311  # no secret


class LossyLayer(NotificationChannelLayer):
    """Ours."""

    async def group_send_many(self, messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish a batch, or what of it isn't lost."""
        if sign().exists():
            messages = [message for message in messages if _passes()]
        await self._get_layer().group_send_many(messages)


class LossyListLayer(RedisChannelLayer):
    """That of the plain pattern."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Publish a message, unless it is lost."""
        if not sign().exists() or _passes():
            await super().group_send(group, message)
