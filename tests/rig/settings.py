"""The project's settings, as in production, with a channel layer and a wake-up that obey orders."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import OUTBOX, REDIS_URL

OUTBOX = {
    **OUTBOX,
    "BELL": "tests.rig.orders.wake_up",
    **json.loads(os.environ.get("RIG_OUTBOX", "{}")),
}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "tests.rig.layers.RigLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}
