"""`manage.py check` on the addresses of the broker and of Redis."""

import pytest

from workers import checks


def ids(found):
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("expected", "url"),
    [
        ([], "redis://redis.example/1"),
        ([], "redis+socket:///run/redis.sock"),
        ([], "amqp://broker.example"),
        (["workers.E001"], "unix:///run/redis.sock"),
        (["workers.E001"], "rabbit://broker.example"),
        (["workers.W001"], "memory://"),
    ],
)
def test_broker(settings, expected, url):
    """
    A broker that Celery doesn't know, or that other processes can't reach, is named.
    """
    settings.CELERY_BROKER_URL = url
    assert expected == ids(checks.broker_can_be_reached())


def test_while_debugging_a_broker_may_be_in_memory(settings):
    """
    One process may do.
    """
    settings.CELERY_BROKER_URL, settings.DEBUG = "memory://", True
    assert [] == checks.broker_can_be_reached()


@pytest.mark.parametrize(
    ("expected", "url"),
    [([], "rediss://redis.example/1"), (["workers.E002"], "redis.example:6379")],
)
def test_redis(settings, expected, url):
    """
    An address that Redis' client can't read is named.
    """
    settings.REDIS_URL = url
    assert expected == ids(checks.redis_can_be_reached())
