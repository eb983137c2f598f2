"""Tests of the system check of the Redis for wake-ups."""

import pytest

from pillarbox.checks.redis_server import redis_can_be_reached

OURS = "pillarbox.layer.layers.NotificationChannelLayer"


def ids(found):
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("expected", "url"),
    [([], "rediss://redis.example/1"), (["pillarbox.E202"], "redis.example:6379")],
)
def test_redis(settings, expected, url):
    """
    An address that Redis' client can't parse is reported.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": url}
    assert expected == ids(redis_can_be_reached())


def test_wake_ups_need_a_redis(settings):
    """
    Without the address of a Redis there are no wake-ups; a project that wants none hears nothing.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
    assert ["pillarbox.W202"] == ids(redis_can_be_reached())
    settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": ""}
    assert [] == ids(redis_can_be_reached())


@pytest.mark.parametrize(
    "layer",
    [
        {},
        {"BACKEND": "nowhere.Layer"},
        {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        {"BACKEND": OURS, "CONFIG": {"hosts": "redis://one.example"}},
        {"BACKEND": OURS, "CONFIG": {"hosts": ["redis://one.example"]}},
    ],
)
def test_the_address_comes_from_the_channel_layer(settings, layer):
    """
    Nothing is missing if the layer has a host. If it has none, only the layer's checks say so.
    """
    settings.CHANNEL_LAYERS = {"default": layer}
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
    assert [] == ids(redis_can_be_reached())
