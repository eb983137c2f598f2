"""The project's settings, with those of the live half that a test gives Daphne."""

import json
import os

from config.settings import *  # noqa: F403

REALTIME = json.loads(os.environ.get("DAPHNE_REALTIME", "{}"))
