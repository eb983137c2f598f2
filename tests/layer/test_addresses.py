"""Tests of the addresses that are taken from the settings."""

import pytest

from pillarbox.layer.addresses import broker_url, wake_up_host

BEHIND_SENTINEL = {"sentinels": [("one.example", 26379)], "master_name": "a"}


@pytest.mark.parametrize(
    ("expected", "hosts"),
    [
        (
            {"address": "redis://one.example/1"},
            ["redis://one.example/1", "redis://two.example"],
        ),
        ({"host": "one.example", "port": 7000}, [("one.example", 7000)]),
        ({"host": "one.example", "ssl": True}, [{"host": "one.example", "ssl": True}]),
        ({"address": "unix:///run/a.sock", "db": 2}, [{"address": "unix:///run/a.sock", "db": 2}]),
        (BEHIND_SENTINEL, [BEHIND_SENTINEL]),
        ({}, None),
    ],
)
def test_wake_ups_use_the_layers_first_redis(settings, expected, hosts):
    """
    Without an address of its own, a wake-up goes to the first host of the channel layer.
    """
    settings.PILLARBOX = {}
    layer = settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"hosts": hosts}}
    settings.CHANNEL_LAYERS = {"default": layer}
    assert expected == wake_up_host()
    settings.PILLARBOX = {"REDIS_URL": "redis://own.example"}
    assert {"address": "redis://own.example"} == wake_up_host()


@pytest.mark.parametrize("config", [["redis://one.example"], {"hosts": "redis://one.example"}])
def test_a_layer_that_cannot_be_read_has_no_redis(settings, config):
    """
    A system check reports it.
    """
    settings.PILLARBOX = {}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere", "CONFIG": config}}
    assert {} == wake_up_host()


def test_a_project_without_celery_has_no_broker(settings):
    """
    The broker's address is Celery's setting, if there is one.
    """
    settings.CELERY_BROKER_URL = "amqp://broker.example"
    assert "amqp://broker.example" == broker_url()
    del settings.CELERY_BROKER_URL
    assert "" == broker_url()
