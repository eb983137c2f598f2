"""Rows are handed to the channel layer in order. A row that can't be published is its own failure."""

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from redis.exceptions import RedisError

from pillarbox.exceptions import UnknownObjectTypeError
from pillarbox.layer.publish import publish
from pillarbox.stream.rows import Row
from pillarbox.types.groups import group_for
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
        stamp=0,
        transaction=None,
        epoch="e",
    )


@pytest.fixture
def sent(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent


async def test_in_order_to_each_streams_group(sent):
    """
    Each row goes to its stream's group, in the given order.
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
async def test_a_failed_row_holds_back_its_own_stream(sent, bad):
    """
    Later rows of its stream are not sent; rows of other streams are.
    """
    poison, behind, free = row(1, **bad), row(2), row(1, "ticket:2")
    outcome = await publish([poison, behind, free])
    assert [poison] == [failed for failed, _ in outcome.failures]
    assert [free] == outcome.rows
    assert isinstance(outcome.failures[0][1], (UnknownObjectTypeError, ValueError))


async def test_the_layer_is_probed_if_there_is_nothing_to_send(settings, sent):
    """
    A row without envelope counts as failed only while the layer is live.
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
    If the layer raises, or doesn't answer in time, no row counts as published.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
    settings.PILLARBOX = settings.PILLARBOX | {"PUBLISH_SECONDS": 0.05}
    with pytest.raises(error):
        await publish([row(1)])


class TestRefused:
    @pytest.fixture(autouse=True, params=["RefusingLayer", "PartlyHangingLayer"])
    def layer(self, request, settings, sent):
        """Configure a layer that refuses some messages, or one that hangs on them."""
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{request.param}"}}
        settings.PILLARBOX = settings.PILLARBOX | {"PUBLISH_SECONDS": 0.2}

    async def test_a_row_alone_is_its_own_failure(self):
        """
        A single row fails if the layer accepts the probe but not the row.
        """
        poison = row(1, payload='"refused"')
        outcome = await publish([poison])
        assert ([poison], []) == ([failed for failed, _ in outcome.failures], outcome.rows)

    async def test_a_batch_is_too_large(self):
        """
        A refused batch is tried again in smaller ones. Rows without envelope fail at once.
        """
        unshowable = row(1, "ticket:3", object_type="ghost")
        outcome = await publish([unshowable, row(1, payload='"refused"'), row(1, "ticket:2")])
        assert outcome.is_too_large
        assert ([unshowable], []) == ([failed for failed, _ in outcome.failures], outcome.rows)


async def test_the_end_of_an_outage_is_not_the_rows_fault(settings, sent):
    """
    If the layer comes back between a row and its probe, the row is sent once more and published.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecoveringLayer"}}
    outcome = await publish([alone := row(1)])
    assert ([alone], []) == (outcome.rows, outcome.failures)


async def test_a_layer_that_refuses_everything_is_away(settings):
    """
    If even the probe is refused, with any exception, no row counts as failed.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
    with pytest.raises(ConnectionRefusedError):
        await publish([row(1, payload='"refused"')])


async def test_an_absent_host_of_several_is_not_the_rows_fault(settings):
    """
    The probe goes to the Redis host that the row would go to.
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
