"""
The project's settings, with an app of models that the example has no use for, and a second database.

In the process of the tests no timer begins or ends anything, unless a test sets it: a machine that stands
still for seconds changes nothing.
"""

from config.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.library"]  # noqa: F405
DATABASES = {
    **DATABASES,  # noqa: F405
    "archive": {**DATABASES["default"], "NAME": "archive"},  # noqa: F405
}

NEVER = 1000
OUTBOX = {**OUTBOX, "LOCK_IDLE_SECONDS": 2 * NEVER}  # noqa: F405
REALTIME = {
    "DATABASE_SECONDS": NEVER,
    "HEARTBEAT_SECONDS": NEVER,
    "POSITION_CHECK_SECONDS": NEVER,
    "PUBLISH_SECONDS": NEVER,
    "REAUTHORISE_SECONDS": NEVER,
    "SLOW_SECONDS": NEVER,
}
