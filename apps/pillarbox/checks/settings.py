"""System checks of the settings of the product."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import wraps
from json import JSONEncoder
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..conf import PillarboxSettings, pillarbox_settings

#: Settings that are dotted paths, or empty → whether an object is what they lead to, and that in words.
PATHS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "WAKE_UP": (callable, "a function"),
    "REPLAY": (callable, "a function"),
    "CELERY_APP": (lambda found: hasattr(found, "send_task"), "a Celery app"),
    "JSON_ENCODER": (
        lambda found: isinstance(found, type) and issubclass(found, JSONEncoder),
        "a json.JSONEncoder",
    ),
    "REDACT": (callable, "a function"),
}
LARGEST_PORT = 65535
#: Numbers for which 0 means none.
MAY_BE_ZERO = ("HASHID_LENGTH", "METRICS_PORT")
#: Pairs of which the first must not be above the second.
WINDOWS = (
    ("BACKOFF_BASE_SECONDS", "BACKOFF_CEILING_SECONDS"),
    ("RECONNECT_MIN_MS", "RECONNECT_MAX_MS"),
)


def needs_settings(
    check: Callable[..., list[CheckMessage]],
) -> Callable[..., list[CheckMessage]]:
    """Wrap a check that reads ``PILLARBOX``: it finds nothing if that can't be read, as E001 says."""

    @wraps(check)
    def run(**options: Any) -> list[CheckMessage]:
        try:
            pillarbox_settings()
        except ImproperlyConfigured:
            return []
        return check(**options)

    return run


@register()
def settings_are_valid(**_: Any) -> list[CheckMessage]:
    """Check that ``PILLARBOX`` has only known keys, importable paths and values that suit each other."""
    try:
        conf = pillarbox_settings()
    except ImproperlyConfigured as error:
        hint = "Correct the dictionary PILLARBOX in the settings. Each key has a default, so it may be empty."
        return [Error(str(error), hint=hint, id="pillarbox.E001")]
    return [*_paths(conf), *_numbers(conf), *_times(conf)]


def _paths(conf: PillarboxSettings) -> Iterator[CheckMessage]:
    for key, (is_right, expected) in PATHS.items():
        hint = f"Write the dotted path of {expected}, or leave {key} out of PILLARBOX."
        try:
            path = getattr(conf, key)
            if path and not is_right(import_string(path)):
                text = f'PILLARBOX["{key}"] is {path}, which is not {expected}.'
                yield Error(text, hint=hint, id="pillarbox.E002")
        except ImportError as error:
            text = f'PILLARBOX["{key}"] can\'t be imported: {error}.'
            yield Error(text, hint=hint, id="pillarbox.E002")


def _numbers(conf: PillarboxSettings) -> Iterator[CheckMessage]:
    default = PillarboxSettings()
    for field in fields(conf):
        value = getattr(conf, field.name)
        is_limit = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_limit:
            continue
        may_be_zero = field.name in MAY_BE_ZERO
        if not (value > 0 or (value == 0 and may_be_zero)) or value == math.inf:
            expected = "0 or more" if may_be_zero else "more than 0"
            text = f'PILLARBOX["{field.name}"] is {value}: expected a finite number, {expected}.'
            hint = f"Leave it out of PILLARBOX for the default, {getattr(default, field.name)}."
            yield Error(text, hint=hint, id="pillarbox.E003")
    if conf.METRICS_PORT > LARGEST_PORT:
        text = f'PILLARBOX["METRICS_PORT"] is {conf.METRICS_PORT}: expected at most {LARGEST_PORT}.'
        hint = "Leave it out of PILLARBOX for the default, 0: no port."
        yield Error(text, hint=hint, id="pillarbox.E003")
    for least, most in WINDOWS:
        if getattr(conf, least) > getattr(conf, most):
            hint = f"The defaults are {getattr(default, least)} and {getattr(default, most)}."
            yield Error(f'PILLARBOX["{least}"] is above {most}.', hint=hint, id="pillarbox.E009")


def _times(conf: PillarboxSettings) -> Iterator[CheckMessage]:
    if conf.PUBLISH_SECONDS >= conf.LOCK_IDLE_SECONDS:
        hint = "A worker that still waits for the channel layer would lose its lock."
        text = 'PILLARBOX["PUBLISH_SECONDS"] is not below LOCK_IDLE_SECONDS.'
        yield Error(text, hint=hint, id="pillarbox.E102")
    if conf.SLOW_SECONDS >= 2 * conf.HEARTBEAT_SECONDS:
        hint = "A client that doesn't read doesn't answer pings: it would be closed with 4408, not 4503."
        text = 'PILLARBOX["SLOW_SECONDS"] is not below twice HEARTBEAT_SECONDS.'
        yield Warning(text, hint=hint, id="pillarbox.W102")
    # The longest absence of a correct client: it notices the dead link, then waits for its window's end.
    away = 2 * conf.HEARTBEAT_SECONDS + conf.RECONNECT_MAX_MS / 1000 + conf.POSITION_CHECK_SECONDS
    if conf.RETENTION_SECONDS < away:
        hint = "Clients that lose their sockets could not resume: the rows they missed would be pruned."
        text = f'PILLARBOX["RETENTION_SECONDS"] is below the {away:.0f} seconds of a reconnect.'
        yield Warning(text, hint=hint, id="pillarbox.W104")
