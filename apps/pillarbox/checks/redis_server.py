"""System check of the Redis for wake-ups."""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from ..conf import pillarbox_settings
from ..layer.addresses import UNUSABLE, wake_up_host
from ..layer.redis_clients import redis_client
from .channel_layer import layer_hosts_are_valid, layer_reaches_other_processes
from .settings import needs_settings

#: Findings about the channel layer with which there is no Redis to find.
WITHOUT = {"pillarbox.E103", "pillarbox.E104", "pillarbox.E108", "pillarbox.E110", "pillarbox.W107"}


@register()
@needs_settings
def redis_can_be_reached(**_: Any) -> list[CheckMessage]:
    """Check that there is a Redis for wake-ups, and that its address can be used."""
    conf = pillarbox_settings()
    if conf.REDIS_URL:
        return _address(conf.REDIS_URL)
    if wake_up_host() or not conf.WAKE_UP or _reported():
        return []
    hint = (
        'PILLARBOX = {"REDIS_URL": "redis://localhost:6379/0"}, or {"WAKE_UP": ""} to do without.'
    )
    text = "No address of a Redis for wake-ups is known: notifications wait for the sweep, a second at most."
    return [Warning(text, hint=hint, id="pillarbox.W202")]


def _address(url: str) -> list[CheckMessage]:
    try:
        redis_client({"address": url})
    except UNUSABLE as error:
        hint = 'PILLARBOX = {"REDIS_URL": "redis://localhost:6379/0"}, or "rediss://…" or "unix:///run/redis.sock"'
        return [Error(f"REDIS_URL can't be used: {error}", hint=hint, id="pillarbox.E202")]
    return []


def _reported() -> bool:
    """Return whether another check reports why no Redis is known."""
    found = [*layer_reaches_other_processes(), *layer_hosts_are_valid()]
    return any(message.id in WITHOUT for message in found)
