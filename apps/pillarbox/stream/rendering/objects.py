"""The objects of rows, and the payloads that the project's code makes from them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import models

from ...types.announcers import Announcer
from ...types.current_rows import all_objects, read_shown
from ...types.payload import encode
from .eager_models import unless_eager
from .images import instances_of
from .locale import project_locale
from .results import Unrendered
from .session import raise_if_away, restored_session_after_payload


def objects_of(
    announcer: Announcer, rows: Sequence[Unrendered], using: str
) -> dict[Unrendered, Any]:
    """Return each row's object, made from its image or else read now. Omits rows whose object is gone."""
    with_image = [row for row in rows if row.image is not None]
    objects = dict(instances_of(announcer.model, with_image, using))
    plain = [row for row in rows if row not in objects]
    current = current_objects(announcer, {row.object_id for row in plain}, using)
    objects |= {row: current[row.object_id] for row in plain if row.object_id in current}
    read_shown(announcer, list({id(one): one for one in objects.values()}.values()), using)
    return objects


def current_objects(announcer: Announcer, keys: Iterable[str], using: str) -> dict[str, Any]:
    """
    Return the current objects by key as text, including those that the model's managers leave out.

    Fields that the type omits are deferred, unless its model is eager.
    """
    if not keys:
        return {}
    objects = all_objects(announcer, using).filter(pk__in=list(keys))
    if announcer.omit:
        partial = objects.defer(*announcer.omit)
        found = unless_eager(announcer.model, lambda: list(partial), lambda: list(objects), using)
    else:
        found = list(objects)
    return {str(instance.pk): instance for instance in found}


def payloads_of(
    announcer: Announcer, objects: Mapping[Unrendered, Any], using: str
) -> dict[Unrendered, str | Exception]:
    """Return each row's payload, or the error that rendering raised. Rows of one change share a payload."""
    made: dict[tuple[str, str, str | None], str | Exception] = {}
    payloads = {}
    for row, instance in objects.items():
        change = (row.event_id, row.object_id, row.image)
        if change not in made:
            made[change] = _payload(announcer, instance, using)
        payloads[row] = made[change]
    return payloads


def _payload(announcer: Announcer, instance: models.Model, using: str) -> str | Exception:
    try:
        with restored_session_after_payload(using), project_locale():
            return encode(announcer.payload(instance), announcer.object_type)
    except Exception as error:  # noqa: BLE001  # raised by the project's code
        raise_if_away(error, using)
        return error
