"""The project's settings, with a channel layer that stops its process, and a test's outbox settings."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import PILLARBOX, REDIS_URL

PILLARBOX = {**PILLARBOX, **json.loads(os.environ.get("STOP_PILLARBOX", "{}"))}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.relay.stopping.StoppingLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}
