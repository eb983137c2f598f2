"""The project's settings, without a channel layer."""

from config.settings import *  # noqa: F403

CHANNEL_LAYERS = {}
