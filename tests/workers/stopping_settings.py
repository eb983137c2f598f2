"""The project's settings, with a channel layer that stops its process, and an outbox as a test wants it."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import OUTBOX, REDIS_URL

OUTBOX = {**OUTBOX, **json.loads(os.environ.get("STOP_OUTBOX", "{}"))}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.workers.stopping.StoppingLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}
