"""Rows are handed to the channel layer, in order; a row that can't be shown is its own failure."""

import pytest
from django.utils import timezone

from apps.outbox.models import NotificationOutbox
from apps.realtime.exceptions import UnknownObjectTypeError
from apps.realtime.groups import group_for
from apps.realtime.publish import publish
from tests.layers import RecordingLayer


def row(offset, stream="ticket:1", object_type="ticket", object_id="1"):
    return NotificationOutbox(
        stream=stream,
        offset=offset,
        event="UPDATE_TICKET",
        object_type=object_type,
        object_id=object_id,
        payload={},
        created_at=timezone.now(),
    )


EPOCHS = {"ticket:1": "e", "ticket:2": "e"}


@pytest.fixture
def sent(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent


async def test_in_order_to_each_streams_group(sent):
    """
    Each row goes to its stream's group, in the order given.
    """
    rows = [row(1), row(1, "ticket:2"), row(2)]
    outcome = await publish(rows, EPOCHS)
    assert rows == outcome.rows
    assert [
        (group_for("ticket:1"), 1),
        (group_for("ticket:2"), 1),
        (group_for("ticket:1"), 2),
    ] == [(group, message["offset"]) for group, message in sent]


@pytest.mark.parametrize("bad", [{"object_type": "ghost"}, {"object_id": "x"}])
async def test_a_row_that_cannot_be_shown_holds_back_its_own_stream(sent, bad):
    """
    Behind it nothing of its stream is sent; other streams are.
    """
    poison, behind, free = row(1, **bad), row(2), row(1, "ticket:2")
    outcome = await publish([poison, behind, free], EPOCHS)
    assert [poison] == [failed for failed, _ in outcome.failures]
    assert [free] == outcome.rows
    assert isinstance(outcome.failures[0][1], (UnknownObjectTypeError, ValueError))


async def test_nothing_to_send_needs_no_layer(settings):
    """
    A batch of failures doesn't ask the channel layer.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    assert [] == (await publish([row(1, object_type="ghost")], EPOCHS)).rows


@pytest.mark.parametrize(
    ("error", "layer"), [(ConnectionRefusedError, "AwayLayer"), (TimeoutError, "HangingLayer")]
)
async def test_a_layer_that_is_away_raises(settings, error, layer):
    """
    If the layer refuses or doesn't answer in time, nothing counts as sent.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
    settings.REALTIME = {"PUBLISH_SECONDS": 0.05}
    with pytest.raises(error):
        await publish([row(1)], EPOCHS)
