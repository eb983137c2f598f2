"""The project's settings, with an app whose registrations are refused."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.checks.wrong"]
