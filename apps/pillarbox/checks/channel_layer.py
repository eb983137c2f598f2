"""System checks of the channel layer."""

from typing import Any

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Warning, register  # noqa: A004

from ..conf import pillarbox_settings
from ..layer.addresses import UNUSABLE, layer_pools, layer_settings
from ..layer.layers import NotificationChannelLayer, notification_layer
from .settings import needs_settings

#: Layers that have Redis hosts; the second is the base of ours.
ON_REDIS = (RedisChannelLayer, RedisPubSubChannelLayer)
IN_MEMORY = "channels.layers.InMemoryChannelLayer"
#: The setting to write, for the alias of our layer.
WANTED = (
    'CHANNEL_LAYERS = {{"{}": {{"BACKEND": "pillarbox.layer.layers.NotificationChannelLayer", '
    '"CONFIG": {{"hosts": ["redis://localhost:6379/0"]}}}}}}'
)


@register()
@needs_settings
def layer_reaches_other_processes(**_: Any) -> list[CheckMessage]:
    """Check that there is a channel layer, and that workers and Daphne can share it."""
    alias = pillarbox_settings().CHANNEL_LAYER
    hint = WANTED.format(alias)
    backend = str(layer_settings().get("BACKEND", ""))
    if not backend:
        return [Error(f'CHANNEL_LAYERS has no "{alias}".', hint=hint, id="pillarbox.E103")]
    try:
        layer = notification_layer()
    except Exception as error:  # noqa: BLE001  # the layer's own class may raise anything
        text = f'CHANNEL_LAYERS["{alias}"] can\'t be used: {error}'
        return [Error(text, hint=hint, id="pillarbox.E108")]
    if backend == IN_MEMORY:
        text = "The channel layer is in memory: what a worker publishes in its process reaches no socket in "
        text += "another one, which finds it in the database, seconds late."
        if settings.DEBUG:
            return [Warning(text, hint=hint, id="pillarbox.W107")]
        return [Error(text, hint=hint, id="pillarbox.E104")]
    if not isinstance(layer, NotificationChannelLayer):
        text = f"The channel layer is {backend}: it is slower, and clients can't subscribe "
        text += "while it is away."
        return [Warning(text, hint=hint, id="pillarbox.W101")]
    return []


@register()
@needs_settings
def layer_hosts_are_valid(**_: Any) -> list[CheckMessage]:
    """Check that the channel layer's hosts are valid and, if the layer is ours, that each has a timeout."""
    # Another check reports a layer that can't be used.
    if any(message.level >= ERROR for message in layer_reaches_other_processes()):
        return []
    layer = notification_layer()
    try:
        pools = layer_pools() if isinstance(layer, ON_REDIS) else []
    except UNUSABLE as error:
        hint = 'A list: "redis://…", "rediss://…" or "unix://…", or dictionaries of redis-py\'s options, or '
        hint += 'of "sentinels" and "master_name".'
        text = f"The hosts of CHANNEL_LAYERS can't be used: {error}"
        return [Error(text, hint=hint, id="pillarbox.E110")]
    hint = "Remove socket_timeout from its options: the layer sets one."
    text = "A Redis host of CHANNEL_LAYERS has no timeout."
    return [
        Warning(text, hint=hint, id="pillarbox.W106")
        for pool in pools
        if isinstance(layer, NotificationChannelLayer)
        and pool.connection_kwargs.get("socket_timeout", 1) in {None, 0}
    ]
