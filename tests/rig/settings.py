"""The project's settings for a site under test: channel layer, wake-up and encoder have failpoints."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import PILLARBOX, REDIS_URL

PILLARBOX = {
    **PILLARBOX,
    "WAKE_UP": "tests.rig.failpoints.wake_up",
    "JSON_ENCODER": "tests.rig.failpoints.Encoder",
    **json.loads(os.environ.get("RIG_PILLARBOX", "{}")),
}
CHANNEL_LAYERS = {
    "default": {"BACKEND": "tests.rig.layers.RigLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}
