"""The project's settings, with troublesome tickets and a test's own settings of the product."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS, PILLARBOX

INSTALLED_APPS = [*INSTALLED_APPS, "tests.relay.trouble"]
PILLARBOX = {**PILLARBOX, **json.loads(os.environ.get("TROUBLE_PILLARBOX", "{}"))}
