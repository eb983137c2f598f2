"""The plain pattern's settings: the list layer of channels-redis."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URL

ASGI_APPLICATION = "tests.rig.plain.consumer.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.rig.plain.layers.LossyListLayer",
        # redis-py 8 closes by default what is silent for five seconds.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
}
