"""The settings of a project whose own consumers use the default channel layer, and ours another one."""

from config.settings import *  # noqa: F403

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},  # noqa: F405
    },
    "notifications": CHANNEL_LAYERS["default"],  # noqa: F405
}
PILLARBOX = {**PILLARBOX, "CHANNEL_LAYER": "notifications"}  # noqa: F405
