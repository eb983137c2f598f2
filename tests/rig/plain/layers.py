"""The plain pattern's channel layer, which loses messages if so ordered."""

from typing import Any

from channels_redis.core import RedisChannelLayer

from ..layers import is_kept


class LossyListLayer(RedisChannelLayer):
    """The list layer of channels-redis, which loses messages if so ordered."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message, unless it is to be lost."""
        if is_kept():
            await super().group_send(group, message)
