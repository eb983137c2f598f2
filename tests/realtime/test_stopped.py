"""A process that was absent while it published to a real Redis blames neither Redis nor the row."""

import asyncio
import time

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings

from apps.realtime.layers import NotificationChannelLayer
from apps.realtime.publish import publish
from tests.realtime.test_publish import row

SECONDS = 0.4


class AbsentLayer(NotificationChannelLayer):
    """Holds up its event loop once, for longer than publishing may take, ``turns`` after it began to send."""

    turns: list[int] = []

    async def group_send_many(self, messages):
        sending = asyncio.create_task(self._get_layer().group_send_many(messages))
        for _ in range(self.turns.pop()):
            await asyncio.sleep(0)
        time.sleep(2 * SECONDS)  # noqa: ASYNC251  # it holds up the loop
        await sending


@pytest.mark.parametrize("turns", [1, 4, 16, 64])
async def test_what_redis_took_meanwhile_is_published(settings, turns):
    """
    Wherever the absence begins: while it connects, while it sends, or while it waits for the answer.
    """
    layer = {**django_settings.CHANNEL_LAYERS["default"], "BACKEND": f"{__name__}.AbsentLayer"}
    settings.CHANNEL_LAYERS = {"default": layer}
    settings.REALTIME = settings.REALTIME | {"PUBLISH_SECONDS": SECONDS}
    AbsentLayer.turns[:] = [turns]
    rows = [row(1)]
    outcome = await publish(rows)
    assert (rows, [], False) == (outcome.rows, outcome.failures, outcome.is_too_large)
    assert [] == AbsentLayer.turns
    await get_channel_layer().flush()
