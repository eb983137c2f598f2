"""The project's settings, as in production, with a channel layer that can be told to lose messages."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URL

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "config.verify.layers.LossyLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}
