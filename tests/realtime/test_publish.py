"""Rows are handed to the channel layer, in order; a row that can't be shown is its own failure."""

import json

import pytest

from apps.outbox.rows import Row
from apps.realtime.exceptions import UnknownObjectTypeError
from apps.realtime.groups import group_for
from apps.realtime.publish import publish
from tests.layers import RecordingLayer


def row(offset, stream="ticket:1", object_type="ticket", object_id="1", payload="{}"):
    return Row(
        pk=offset,
        stream=stream,
        offset=offset,
        event_id="",
        event="UPDATE_TICKET",
        object_type=object_type,
        object_id=object_id,
        payload=payload,
        created_at="2026-11-22T10:00:03.501Z",
        attempts=0,
        deaths=0,
        is_failed=False,
        epoch="e",
    )


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
    outcome = await publish(rows)
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
    outcome = await publish([poison, behind, free])
    assert [poison] == [failed for failed, _ in outcome.failures]
    assert [free] == outcome.rows
    assert isinstance(outcome.failures[0][1], (UnknownObjectTypeError, ValueError))


async def test_nothing_to_send_needs_no_layer(settings):
    """
    A batch of failures doesn't ask the channel layer.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    assert [] == (await publish([row(1, object_type="ghost")])).rows


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
        await publish([row(1)])


async def test_a_row_that_the_layer_refuses_is_its_own_failure(settings, sent):
    """
    If the layer takes anything else, the row is at fault, and only its stream waits.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.FastidiousLayer"}}
    refused = '"refused"'
    poison, behind, free = row(1, payload=refused), row(2), row(1, "ticket:2", payload='"taken"')
    outcome = await publish([poison, behind, free])
    assert [poison] == [failed for failed, _ in outcome.failures]
    assert [free] == outcome.rows
    assert ["taken"] == [json.loads(message["frame"])["payload"] for _, message in sent]


async def test_a_layer_that_refuses_everything_is_away(settings):
    """
    Whatever its exceptions are called: where not even a probe gets through, no row is at fault.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    with pytest.raises(ConnectionRefusedError):
        await publish([row(1, payload='"refused"')])
