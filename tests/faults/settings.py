"""The project's settings, with a channel layer that does as it is ordered and keeps a journal."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import OUTBOX, REDIS_URL

OUTBOX = {**OUTBOX, **json.loads(os.environ.get("FAULTS_OUTBOX", "{}"))}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.faults.layers.JournalLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}
