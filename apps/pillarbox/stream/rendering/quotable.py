"""Quotable values: those of an object that an error about it may quote, so that they can be redacted."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from django.db import models

from ...exceptions import UnreadableError
from ...types.announcers import Announcer
from ...types.current_rows import all_objects
from ..redaction import without_values
from .results import Rendered
from .session import raise_if_away


def with_quotable(
    result: Rendered, announcer: Announcer, instance: models.Model, now: models.Model | None
) -> Rendered:
    """
    Add to a failure the attributes of its object, as it was rendered and ``now``.

    Without ``now`` the error becomes an UnreadableError, because it may quote what isn't known.
    """
    if now is None and result.error is not None:
        return replace(result, error=UnreadableError(without_values(result.error)))
    fields: Iterable[Any] = map(announcer.model._meta.get_field, announcer.omit)
    # Made from an image, an instance lacks the omitted columns, but the project's code may have read them.
    then, current = _attributes(instance), _attributes(now)
    values = {**current, **then}
    values |= {name: [then[name], current[name]] for name in then if name in current}
    quotable = json.dumps(values, default=_spellings, skipkeys=True)
    return replace(result, quotable=quotable, omitted=tuple(field.attname for field in fields))


def whole_objects(announcer: Announcer, keys: Iterable[str], using: str) -> Mapping[str, Any]:
    """Return the current objects by key as text, with all columns. Omits those that can't be read."""
    keys = list(keys)
    try:
        found = list(all_objects(announcer, using).filter(pk__in=keys)) if keys else []
        return {str(instance.pk): instance for instance in found}
    except Exception as error:  # noqa: BLE001  # raised by a field of the project, or by the driver
        raise_if_away(error, using)
        alone = [[key] for key in keys] if len(keys) > 1 else []
        return {
            pk: one for key in alone for pk, one in whole_objects(announcer, key, using).items()
        }


def _attributes(instance: Any) -> dict[str, Any]:
    """Return an instance's attributes, without those of Django's own, such as prefetched objects."""
    return {name: value for name, value in vars(instance).items() if not name.startswith("_")}


def _spellings(value: Any) -> list[str]:
    """Return the ways in which errors quote a value that isn't JSON."""
    try:
        spellings = [str(value), repr(value)]
    except Exception:  # noqa: BLE001  # raised by an object of the project
        return []
    if hasattr(value, "isoformat"):
        spellings.append(value.isoformat())
    return [*spellings, value.hex] if isinstance(value, uuid.UUID) else spellings
