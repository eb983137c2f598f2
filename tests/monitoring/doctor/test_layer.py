"""Tests of the doctor's checks of the channel layer and the broker."""

import asyncio

import pytest
from celery import Celery
from channels.layers import get_channel_layer
from django.conf import settings as django_settings

from pillarbox.monitoring.doctor import layer
from pillarbox.monitoring.doctor.checklist import checklist
from pillarbox.monitoring.doctor.examination import examine
from pillarbox.monitoring.doctor.findings import Severity
from pillarbox.relay import celery_wake_ups
from tests.ports import free_port
from workers.app import app

from .situations import found, one

OURS = "pillarbox.layer.layers.NotificationChannelLayer"
PLAIN = "channels_redis.core.RedisChannelLayer"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def restricted(server):
    """Create the Redis user that the deployment page recommends for the layer; return its credentials."""
    words = ["publish", "subscribe", "unsubscribe", "eval", "ping", "hello", "client"]
    rights = ["allchannels", "resetkeys", *(f"+{word}" for word in words)]
    server.execute_command("ACL", "SETUSER", "layer", "on", ">word", *rights)
    yield {"username": "layer", "password": "word"}
    server.execute_command("ACL", "DELUSER", "layer")


async def _send_many():
    await get_channel_layer().group_send_many([("doctor", {"type": "probe"})])


class TestLayer:
    @pytest.mark.parametrize("hosts", [1, 2])
    def test_sound(self, settings, hosts):
        """
        A message comes back from one host, and from each of several.
        """
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "pillarbox.layer.layers.NotificationChannelLayer",
                "CONFIG": {"hosts": [django_settings.REDIS_URL] * hosts},
            }
        }
        assert layer.loops_back().startswith("came back in ")

    @pytest.mark.parametrize(
        ("expected", "layers"),
        [
            ("E103", None),
            ("E103", []),
            ("E108", {"default": {"BACKEND": "nowhere.Layer"}}),
            ("E108", {"default": {"BACKEND": OURS, "CONFIG": 7}}),
            ("E108", {"default": {"BACKEND": PLAIN, "CONFIG": {"hosts": 7}}}),
            ("E110", {"default": {"BACKEND": PLAIN, "CONFIG": {"hosts": ["one.example"]}}}),
            ("E110", {"default": {"BACKEND": OURS, "CONFIG": {"hosts": ["one.example"]}}}),
            ("E110", {"default": {"BACKEND": OURS, "CONFIG": {"hosts": [7]}}}),
            (
                "E110",
                {"default": {"BACKEND": OURS, "CONFIG": {"hosts": [{"sentinels": [("a", 1)]}]}}},
            ),
            ("E110", {"default": {"BACKEND": OURS, "CONFIG": {"hosts": [{"option": 1}]}}}),
        ],
    )
    @pytest.mark.django_db(
        transaction=True, databases=["default", "archive"]
    )  # Django's own checks ask for the server's version
    def test_settings_that_can_not_be_used(self, settings, expected, layers):
        """
        Of a layer that can't be made from its settings there is one finding, by the check of the settings.
        """
        settings.CHANNEL_LAYERS = layers
        named = ("settings", "redis", "redis-memory", "sentinels", "layer")
        of_settings, *others = examine(check for check in checklist() if check.name in named)
        (finding,) = (f for f in of_settings.findings if f.what[:13] == f"pillarbox.{expected[:3]}")
        assert finding.what.startswith(f"pillarbox.{expected}: ")
        assert [] == [finding for result in others for finding in result.findings]
        assert ("layer", Severity.SKIPPED) == (others[-1].check, others[-1].severity)

    def test_an_address_for_wake_ups_that_can_not_be_used(self, settings):
        """
        The same holds for an address of the Redis for wake-ups.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": f"{django_settings.REDIS_URL}?no=1"}
        of_settings, of_redis = examine(
            check for check in checklist() if check.name in ("settings", "redis")
        )
        assert any("pillarbox.E202: " in finding.what for finding in of_settings.findings)
        assert "needs settings" == of_redis.summary

    def test_away(self, settings):
        """
        A server of another layer that doesn't answer is a finding.
        """
        host = {"host": "127.0.0.1", "port": free_port()}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": PLAIN, "CONFIG": {"hosts": [host]}}}
        assert "The channel layer can't be used: " in one(layer.loops_back()).what

    def test_a_user_with_few_rights(self, settings, restricted):
        """
        The rights that the deployment page gives the layer's user suffice.
        """
        backend = "pillarbox.layer.layers.NotificationChannelLayer"
        host = {"address": django_settings.REDIS_URL, **restricted}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
        asyncio.run(_send_many())
        assert [] == found(layer.loops_back())

    def test_other_messages(self, settings):
        """
        Unrelated messages are ignored; they don't count as the answer.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.ExtraMessageLayer"}}
        assert [] == found(layer.loops_back())
        get_channel_layer().is_true = False
        assert "1 did not come back" in one(layer.loops_back()).what

    def test_without_a_broker(self, settings):
        """
        A project without Celery has no broker that could answer.
        """
        settings.CELERY_BROKER_URL = ""
        settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": ""}
        assert "not needed: CELERY_BROKER_URL is not set" == layer.broker_answers()

    def test_a_broker_that_is_away(self):
        """
        The finding gives the error without the password.
        """
        with Celery("away", broker="redis://:hidden@127.0.0.1:1") as away:
            finding = one(layer.broker_answers(away))
        assert finding.what.startswith("The broker can't be used: ")
        assert "hidden" not in finding.what

    def test_a_layer_that_loses_messages(self, settings):
        """
        A layer that loses messages is a finding.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.HangingLayer"}}
        assert (
            "Of 1 messages through the channel layer 1 did not come back"
            in one(layer.loops_back()).what
        )

    def test_a_long_queue(self):
        """
        Messages that no worker takes are a finding.
        """
        with app.pool.acquire(block=True) as broker:
            queue = app.amqp.queues["pillarbox"](broker.default_channel)
            queue.purge()
            assert [] == found(layer.broker_answers())
            for _ in range(layer.MANY_MESSAGES + 1):
                celery_wake_ups.send(app, "pillarbox.drain")
            assert "101 messages wait for the workers." == one(layer.broker_answers()).what
            queue.purge()
