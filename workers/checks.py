"""System checks: `manage.py check` speaks first."""

from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from kombu.transport import resolve_transport

#: Brokers that no other host, or no other process, can reach.
OWN = {"memory", "filesystem"}


@register()
def broker_can_be_reached(**_: Any) -> list[CheckMessage]:
    """Celery knows how to reach the broker, and so do the other processes."""
    scheme = urlsplit(settings.CELERY_BROKER_URL).scheme
    try:
        resolve_transport(scheme.partition("+")[0] or None)
    except (KeyError, ImportError) as error:
        hint = "Redis on a socket is redis+socket:///…; other brokers need their package installed."
        text = f"CELERY_BROKER_URL begins with {scheme}://, which Celery can't use: {error}"
        return [Error(text, hint=hint, id="workers.E001")]
    if scheme in OWN and not settings.DEBUG:
        hint = "Use Redis, or RabbitMQ."
        text = f"The broker {scheme}:// is for one process, or one host: nobody wakes the workers."
        return [Warning(text, hint=hint, id="workers.W001")]
    return []


@register()
def redis_can_be_reached(**_: Any) -> list[CheckMessage]:
    """REDIS_URL is an address that the bell can use."""
    try:
        redis.ConnectionPool.from_url(settings.REDIS_URL)
    except ValueError as error:
        hint = "redis://host:6379/0, rediss://… or unix:///run/redis.sock"
        return [Error(f"REDIS_URL can't be used: {error}", hint=hint, id="workers.E002")]
    return []
