"""
The project's settings, with a second database and an app with models for tests.

Timers are so long that none goes off in the process of the tests, unless a test shortens it. So a machine
that stalls for seconds doesn't change a result.
"""

from config.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.library"]  # noqa: F405
DATABASES = {
    **DATABASES,  # noqa: F405
    "archive": {**DATABASES["default"], "NAME": "archive"},  # noqa: F405
}
# Tests sign in more often than the rate limit allows.
REST_FRAMEWORK = {
    **REST_FRAMEWORK,  # noqa: F405
    "DEFAULT_THROTTLE_RATES": {"sign_in_address": None, "sign_in_name": None},
}

NEVER = 1000
PILLARBOX = {
    **PILLARBOX,  # noqa: F405
    "BACKOFF_BASE_SECONDS": NEVER,
    "BACKOFF_CEILING_SECONDS": NEVER,
    "LOCK_IDLE_SECONDS": 2 * NEVER,
    "RENDER_SECONDS": NEVER,
    "DATABASE_SECONDS": NEVER,
    "HEARTBEAT_SECONDS": NEVER,
    "POSITION_CHECK_SECONDS": NEVER,
    "PUBLISH_SECONDS": NEVER,
    "REAUTHORISE_SECONDS": NEVER,
    "SLOW_SECONDS": NEVER,
}
