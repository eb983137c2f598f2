"""The plain pattern's settings: the list layer of channels-redis."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URL

ASGI_APPLICATION = "tests.rig.plain.consumer.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.rig.plain.layers.LossyListLayer",
        # By default, redis-py 8 closes connections that are silent for five seconds.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
}
