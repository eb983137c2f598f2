"""The project's settings, with the layer of channels-redis."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URL

ASGI_APPLICATION = "tests.benchmarks.plain.sockets.application"
# redis-py 8 closes by default what is silent for five seconds.
HOSTS = [{"address": REDIS_URL, "socket_timeout": None, "protocol": 2}]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": HOSTS},
    }
}
