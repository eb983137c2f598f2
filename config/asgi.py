"""The ASGI application for Daphne: HTTP and WebSocket."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from pillarbox.asgi import application  # noqa: F401  # needs the name of the settings
