"""Tests of a process that was stopped while it published: neither Redis nor the row is to blame."""

import asyncio
import time

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings

from pillarbox.layer.layers import NotificationChannelLayer
from pillarbox.layer.publish import publish
from tests.layer.test_publish import row

SECONDS = 0.4


class AbsentLayer(NotificationChannelLayer):
    """
    A layer that blocks its event loop once, longer than publishing may take, ``turns`` after the send began.
    """

    turns: list[int] = []

    async def group_send_many(self, messages):
        sending = asyncio.create_task(self._get_layer().group_send_many(messages))
        for _ in range(self.turns.pop()):
            await asyncio.sleep(0)
        time.sleep(2 * SECONDS)  # noqa: ASYNC251  # it holds up the loop
        await sending


@pytest.mark.parametrize("turns", [1, 4, 16, 64])
async def test_messages_that_redis_received_are_published(settings, turns):
    """
    Wherever the pause begins: while the layer connects, sends, or waits for the answer.
    """
    layer = {**django_settings.CHANNEL_LAYERS["default"], "BACKEND": f"{__name__}.AbsentLayer"}
    settings.CHANNEL_LAYERS = {"default": layer}
    settings.PILLARBOX = settings.PILLARBOX | {"PUBLISH_SECONDS": SECONDS}
    AbsentLayer.turns[:] = [turns]
    rows = [row(1)]
    outcome = await publish(rows)
    assert (rows, [], False) == (outcome.rows, outcome.failures, outcome.is_too_large)
    assert [] == AbsentLayer.turns
    await get_channel_layer().flush()
