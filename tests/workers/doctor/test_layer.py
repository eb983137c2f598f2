"""What the doctor says of the channel layer, by a message that goes there and back."""

import asyncio

import pytest
from celery import Celery
from channels.layers import get_channel_layer
from django.conf import settings as django_settings

from workers.app import app
from workers.doctor import layer

from .asking import found, one

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def restricted(server):
    """A user of Redis with the rights that the deployment page gives to the layer's; its credentials."""
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
        A message comes back, from one host and from each of several.
        """
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "apps.realtime.layers.NotificationChannelLayer",
                "CONFIG": {"hosts": [django_settings.REDIS_URL] * hosts},
            }
        }
        assert layer.loops_back().startswith("there and back in ")

    def test_a_user_with_few_rights(self, settings, restricted):
        """
        What the deployment page says of the layer's user suffices.
        """
        backend = "apps.realtime.layers.NotificationChannelLayer"
        host = {"address": django_settings.REDIS_URL, **restricted}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
        asyncio.run(_send_many())
        assert [] == found(layer.loops_back())

    def test_other_messages(self, settings):
        """
        What else comes doesn't matter, and is no answer.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.ChattyLayer"}}
        assert [] == found(layer.loops_back())
        get_channel_layer().is_true = False
        assert "1 did not come back" in one(layer.loops_back()).what

    def test_a_broker_that_is_away(self):
        """
        It is said why, without the password.
        """
        with Celery("away", broker="redis://:hidden@127.0.0.1:1") as away:
            finding = one(layer.broker_answers(away))
        assert finding.what.startswith("The broker can't be used: ")
        assert "hidden" not in finding.what

    def test_mute(self, settings):
        """
        A layer that swallows what it is sent is found.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.HangingLayer"}}
        assert (
            "Of 1 messages through the channel layer 1 did not come back"
            in one(layer.loops_back()).what
        )

    def test_broker(self):
        """
        Messages that nobody takes are found.
        """
        with app.pool.acquire(block=True) as broker:
            queue = app.amqp.queues["outbox"](broker.default_channel)
            queue.purge()
            assert [] == found(layer.broker_answers())
            for _ in range(layer.MANY_MESSAGES + 1):
                app.send_task("outbox.drain", ignore_result=True)
            assert "101 messages wait for the workers." == one(layer.broker_answers()).what
            queue.purge()
