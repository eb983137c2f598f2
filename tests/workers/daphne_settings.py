"""The project's settings, with those of the live half and of its channel layer that a test gives Daphne."""

import json
import os

from config.settings import *  # noqa: F403

REALTIME = json.loads(os.environ.get("DAPHNE_REALTIME", "{}"))
CHANNEL_LAYERS["default"]["CONFIG"] |= json.loads(os.environ.get("DAPHNE_LAYER", "{}"))  # noqa: F405
