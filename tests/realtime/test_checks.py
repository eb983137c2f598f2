"""`manage.py check` on the live half's settings."""

import pytest

from apps.realtime import checks
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType


def ids(found):
    return [message.id for message in found]


def test_the_project_is_sound():
    """
    As it is, nothing is found.
    """
    assert [] == checks.settings_are_sound()
    assert [] == checks.layer_reaches_other_processes()
    assert [] == checks.collections_have_owners()


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (["realtime.E001"], {"SUBSCRIPTION": 1}),
        (["realtime.E002"], {"PUBLISH_SECONDS": 1.2}),
        ([], {"PUBLISH_SECONDS": 1.1}),
        (["realtime.E008"], {"COMMANDS_PER_SECOND": 0}),
        (["realtime.E008"], {"POSITION_CHECK_SECONDS": -1.0}),
        (["realtime.W002"], {"SLOW_SECONDS": 50}),
        ([], {"SLOW_SECONDS": 49.9}),
    ],
)
def test_settings(settings, expected, values):
    """
    Each mistake in REALTIME has its id.
    """
    settings.REALTIME = values
    assert expected == ids(checks.settings_are_sound())


def test_a_collection_shows_all_that_is_in_it():
    """
    A type that hides some objects of a collection is warned of: nobody asks, object by object.
    """
    assert [] == checks.collections_show_all()
    unregister("ticket")
    register(type("Hidden", (TicketType,), {"deciding": ("assignee",)}))
    try:
        assert ["realtime.W003"] == ids(checks.collections_show_all())
    finally:
        unregister("ticket")
        register(TicketType)


@pytest.mark.parametrize(
    ("expected", "layers"),
    [
        (["realtime.E003"], {}),
        (["realtime.E003"], {"default": {}}),
        (["realtime.E004"], {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}),
        (["realtime.W001"], {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}),
    ],
)
def test_layers(settings, expected, layers):
    """
    No layer, one that ends at the process, and one that lets idle sockets die, are named.
    """
    settings.CHANNEL_LAYERS = layers
    assert expected == ids(checks.layer_reaches_other_processes())


def test_in_debug_mode_one_process_may_do(settings):
    """
    While debugging, a layer in memory is only a warning.
    """
    settings.DEBUG = True
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ["realtime.W001"] == ids(checks.layer_reaches_other_processes())
