"""The plain pattern's channel layer, which loses messages while that is ordered."""

from typing import Any

from channels_redis.core import RedisChannelLayer

from ..layers import is_kept


class LossyListLayer(RedisChannelLayer):
    """The list layer of channels-redis."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Publish a message, unless it is lost."""
        if is_kept():
            await super().group_send(group, message)
