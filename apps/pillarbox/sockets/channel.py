"""A socket's channel in the channel layer."""

from collections.abc import Awaitable

from ..formats import one_line
from ..layer.layers import OWN, notification_layer
from ..logs import get_logger

logger = get_logger(__name__)


class Channel:
    """
    A socket's channel in the channel layer. It receives the messages of the groups that it joins.

    Our own layer never fails to join or leave. If another one fails, the error is logged.
    """

    def __init__(self) -> None:
        self.layer = notification_layer()
        #: Empty if the layer could not open the channel.
        self.name = ""

    async def open(self) -> None:
        """Have the layer make the channel, and keep its name."""
        await layer_answers(self._open())

    async def join(self, group: str) -> bool:
        """Join a group. Returns False if the layer failed, or has no such channel."""
        return bool(self.name) and await layer_answers(self.layer.group_add(group, self.name))

    async def leave(self, group: str) -> None:
        """Leave a group. If the layer fails, its messages may still arrive, and have no subscription."""
        await layer_answers(self.layer.group_discard(group, self.name))

    async def end(self) -> None:
        """Remove the channel explicitly: cancelling a finished `receive` would leave it registered."""
        if hasattr(self.layer, "end_channel"):
            await layer_answers(self.layer.end_channel(self.name))

    async def _open(self) -> None:
        self.name = await self.layer.new_channel(OWN)


async def layer_answers(call: Awaitable[None]) -> bool:
    """Await a call of the channel layer. Returns False, and logs the error, if it fails."""
    try:
        await call
    except Exception as error:  # noqa: BLE001  # other layers may raise anything
        logger.warning(
            "The channel layer is away: %s", one_line(error), extra={"action": "layer_away"}
        )
        return False
    return True
