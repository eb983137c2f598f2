"""Rows are handed to the channel layer, in order; a row that can't be shown is its own failure."""

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from redis.exceptions import RedisError

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
        is_skipped=False,
        is_pending=True,
        is_move=False,
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


async def test_with_nothing_to_send_the_layer_is_asked_all_the_same(settings, sent):
    """
    What can't be shown counts as a failure only while the layer is there.
    """
    assert [] == (await publish([row(1, object_type="ghost")])).rows
    assert (group_for("ticket:1"), []) == (RecordingLayer.probes.pop(), sent)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    with pytest.raises(ConnectionRefusedError):
        await publish([row(1, object_type="ghost")])


@pytest.mark.parametrize(
    ("error", "layer"), [(ConnectionRefusedError, "AwayLayer"), (TimeoutError, "HangingLayer")]
)
async def test_a_layer_that_is_away_raises(settings, error, layer):
    """
    If the layer refuses or doesn't answer in time, nothing counts as sent.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
    settings.REALTIME = settings.REALTIME | {"PUBLISH_SECONDS": 0.05}
    with pytest.raises(error):
        await publish([row(1)])


class TestRefused:
    @pytest.fixture(autouse=True, params=["FastidiousLayer", "StumblingLayer"])
    def layer(self, request, settings, sent):
        """One that refuses some messages, and one that hangs on them."""
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{request.param}"}}
        settings.REALTIME = settings.REALTIME | {"PUBLISH_SECONDS": 0.2}

    async def test_a_row_alone_is_its_own_failure(self):
        """
        If the layer takes anything else, the row is at fault.
        """
        poison = row(1, payload='"refused"')
        outcome = await publish([poison])
        assert ([poison], []) == ([failed for failed, _ in outcome.failures], outcome.rows)

    async def test_a_batch_is_too_large(self):
        """
        Which row it is shows when there are fewer; what can't be shown is told at once.
        """
        unshowable = row(1, "ticket:3", object_type="ghost")
        outcome = await publish([unshowable, row(1, payload='"refused"'), row(1, "ticket:2")])
        assert outcome.is_too_large
        assert ([unshowable], []) == ([failed for failed, _ in outcome.failures], outcome.rows)


async def test_a_layer_that_refuses_everything_is_away(settings):
    """
    Whatever its exceptions are called: where not even a probe gets through, no row is at fault.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    with pytest.raises(ConnectionRefusedError):
        await publish([row(1, payload='"refused"')])


async def test_an_absent_host_of_several_is_not_the_rows_fault(settings):
    """
    Whether the layer is there is asked on the way that the row would take.
    """
    hosts = [django_settings.REDIS_URL, "redis://127.0.0.1:1"]
    settings.CHANNEL_LAYERS = {
        "default": {**django_settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": hosts}}
    }
    outcomes = set()
    for number in range(20):
        try:
            outcomes.add(len((await publish([row(1, f"ticket:{number}")])).failures))
        except RedisError:
            outcomes.add("away")
    assert {0, "away"} == outcomes
    await get_channel_layer().flush()
