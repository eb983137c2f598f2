"""The system checks, run by `manage.py check`."""

from contextlib import suppress

from . import (  # noqa: F401  # they register themselves
    asgi,
    channel_layer,
    database,
    object_types,
    payloads,
    redis_server,
    settings,
    versions,
    visibility,
)

with suppress(ModuleNotFoundError):  # a project without Celery has no broker
    from . import broker  # noqa: F401
