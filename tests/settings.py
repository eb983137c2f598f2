"""The project's settings, with an app of models that the example has no use for, and a second database."""

from config.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.library"]  # noqa: F405
DATABASES = {
    **DATABASES,  # noqa: F405
    "archive": {**DATABASES["default"], "NAME": "archive"},  # noqa: F405
}
