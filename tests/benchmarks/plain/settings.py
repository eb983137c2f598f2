"""The project's settings, with the channel layer of channels-redis."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URL

ASGI_APPLICATION = "tests.benchmarks.plain.sockets.application"
# By default, redis-py 8 closes connections that are idle for five seconds.
HOSTS = [{"address": REDIS_URL, "socket_timeout": None, "protocol": 2}]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": HOSTS},
    }
}
