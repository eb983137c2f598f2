"""The project's settings, with a test's own settings of the product and channel layer."""

import json
import os

from config.settings import *  # noqa: F403

PILLARBOX |= json.loads(os.environ.get("DAPHNE_PILLARBOX", "{}"))  # noqa: F405
CHANNEL_LAYERS["default"]["CONFIG"] |= json.loads(os.environ.get("DAPHNE_LAYER", "{}"))  # noqa: F405
