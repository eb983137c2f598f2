"""The settings of a project whose API knows claims, and which asks again often."""

from config.settings import *  # noqa: F403

PILLARBOX = {**PILLARBOX, "REAUTHORISE_SECONDS": 0.5}  # noqa: F405
REST_FRAMEWORK = {
    **REST_FRAMEWORK,  # noqa: F405
    "DEFAULT_AUTHENTICATION_CLASSES": [
        *REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"],  # noqa: F405
        "tests.sockets.claims.ClaimsAuthentication",
    ],
}
