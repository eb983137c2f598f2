"""`manage.py check` on the live half's settings."""

import pytest

from apps.realtime import checks
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from tests.database import database_settings


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
        (["realtime.E009"], {"RECONNECT_MIN_MS": 20_001}),
    ],
)
def test_settings(settings, expected, values):
    """
    Each mistake in REALTIME has its id.
    """
    settings.REALTIME, settings.OUTBOX = values, {}
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


@pytest.mark.parametrize(("expected", "seconds"), [(["realtime.W004"], 74), ([], 75)])
def test_who_comes_back_may_resume(settings, expected, seconds):
    """
    History that is pruned before a client could be back is warned of.
    """
    settings.OUTBOX, settings.REALTIME = {"RETENTION_SECONDS": seconds}, {}
    assert expected == ids(checks.settings_are_sound())


@pytest.mark.parametrize(
    ("expected", "pool"),
    [
        ([], None),
        (["realtime.W005"], True),
        (["realtime.W005"], {"max_size": 5}),
        ([], {"max_size": 6}),
        ([], {"min_size": 8}),
    ],
)
def test_pool(expected, pool):
    """
    A pool with fewer connections than a Daphne has threads that want one is warned of.
    """
    with database_settings(OPTIONS={"pool": pool}):
        assert expected == ids(checks.pool_is_large_enough())


@pytest.mark.parametrize(
    ("expected", "hosts"),
    [
        ([], ["redis://one.example", {"host": "two.example", "port": 7000}]),
        (["realtime.E010"], ["one.example"]),
        (["realtime.E010"], "redis://one.example"),
        (["realtime.W006"], [{"address": "redis://one.example", "socket_timeout": None}]),
        (["realtime.W006"], ["redis://one.example?socket_timeout=0"]),
    ],
)
def test_hosts(settings, expected, hosts):
    """
    Hosts that can't be read, or would be waited for without end, are named.
    """
    backend = "apps.realtime.layers.NotificationChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}
    assert expected == ids(checks.hosts_are_sound())


def test_hosts_of_another_layer_are_its_own_affair(settings):
    """
    Only the hosts of our layer are looked at.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert [] == checks.hosts_are_sound()


class _Replica:
    def db_for_read(self, model, **hints):
        return "archive" if model is Ticket else None


def test_live_models_are_read_where_they_are_written(settings):
    """
    A router that has objects read from a replica is an error: a snapshot may be older than its position.
    """
    assert [] == checks.objects_are_read_where_they_are_written()
    settings.DATABASE_ROUTERS = [_Replica()]
    (found,) = checks.objects_are_read_where_they_are_written()
    assert "realtime.E011" == found.id
    assert "'archive'" in found.msg
