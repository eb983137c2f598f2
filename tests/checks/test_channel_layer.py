"""Tests of the system checks of the channel layer."""

import pytest
from django.core.checks import run_checks

from pillarbox.checks import channel_layer as checks

THEIRS, HOSTS = "channels_redis.core.RedisChannelLayer", ["redis://one.example"]


def ids(found):
    return [message.id for message in found]


def test_the_project_is_sound():
    """
    The project's own channel layer has no findings.
    """
    assert [] == checks.layer_reaches_other_processes()


@pytest.mark.parametrize(
    ("expected", "layers"),
    [
        (["pillarbox.E103"], {}),
        (["pillarbox.E103"], {"default": {}}),
        (["pillarbox.E103"], []),
        (["pillarbox.E103"], {"default": "redis"}),
        (["pillarbox.E108"], {"default": {"BACKEND": "nowhere.Layer"}}),
        (["pillarbox.E108"], {"default": {"BACKEND": checks.IN_MEMORY, "CONFIG": {"hosts": 1}}}),
        (["pillarbox.E104"], {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}),
        (["pillarbox.W101"], {"default": {"BACKEND": THEIRS, "CONFIG": {"hosts": HOSTS}}}),
    ],
)
@pytest.mark.django_db(
    databases=["default", "archive"]
)  # Django's own checks ask for the server's version
def test_layers(settings, expected, layers):
    """
    A missing layer, one that can't be made, one in memory, and one of another class are reported.
    """
    before = run_checks()
    settings.CHANNEL_LAYERS = layers
    assert expected == ids(checks.layer_reaches_other_processes())
    assert expected == ids(message for message in run_checks() if message not in before)


def test_the_layer_may_have_another_name(settings):
    """
    The layer that ``CHANNEL_LAYER`` names is checked, and no other one.
    """
    ours = settings.CHANNEL_LAYERS["default"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": checks.IN_MEMORY}, "ours": ours}
    assert ["pillarbox.E104"] == ids(checks.layer_reaches_other_processes())
    settings.PILLARBOX = settings.PILLARBOX | {"CHANNEL_LAYER": "ours"}
    assert [] == checks.layer_reaches_other_processes()
    settings.PILLARBOX = settings.PILLARBOX | {"CHANNEL_LAYER": "absent"}
    (error,) = checks.layer_reaches_other_processes()
    assert 'CHANNEL_LAYERS has no "absent".' == error.msg
    exec(error.hint, written := {})
    assert "absent" in written["CHANNEL_LAYERS"]
    settings.CHANNEL_LAYERS = written["CHANNEL_LAYERS"]
    assert [] == checks.layer_reaches_other_processes()


def test_a_project_without_the_setting(settings):
    """
    A new project has no channel layers at all: the check says so.
    """
    del settings.CHANNEL_LAYERS
    assert ["pillarbox.E103"] == ids(checks.layer_reaches_other_processes())
    assert [] == checks.layer_hosts_are_valid()


def test_in_debug_mode_a_layer_may_be_in_memory(settings):
    """
    In debug mode, a layer in memory is only a warning.
    """
    settings.DEBUG = True
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ["pillarbox.W107"] == ids(checks.layer_reaches_other_processes())


@pytest.mark.parametrize(
    ("expected", "hosts"),
    [
        ([], ["redis://one.example", {"host": "two.example", "port": 7000}]),
        (["pillarbox.E110"], ["one.example"]),
        (["pillarbox.E110"], "redis://one.example"),
        (["pillarbox.E110"], [1]),
        (["pillarbox.E110"], ["redis://one.example?option=1"]),
        (["pillarbox.E110"], [{"sentinels": [("one.example", 7000)]}]),
        ([], [{"host": "one.example", "ssl": True}]),
        ([], [{"sentinels": [("one.example", 7000)], "master_name": "a", "ssl": True}]),
        (["pillarbox.E110"], [{"host": "one.example", "pasword": "word"}]),
        (["pillarbox.W106"], [{"address": "redis://one.example", "socket_timeout": None}]),
        (["pillarbox.W106"], ["redis://one.example?socket_timeout=0"]),
    ],
)
def test_hosts(settings, expected, hosts):
    """
    Invalid hosts, and hosts without a timeout, are reported.
    """
    backend = "pillarbox.layer.layers.NotificationChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}
    assert expected == ids(checks.layer_hosts_are_valid())


def test_hosts_of_other_layers(settings):
    """
    The hosts of layers without Redis are unknown. Others may have hosts without a timeout.
    """
    settings.DEBUG = True
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert [] == checks.layer_hosts_are_valid()
    other = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
    for expected, host in ([], "redis://one.example"), (["pillarbox.E110"], "one.example"):
        settings.CHANNEL_LAYERS = {"default": {**other, "CONFIG": {"hosts": [host]}}}
        assert expected == ids(checks.layer_hosts_are_valid())
