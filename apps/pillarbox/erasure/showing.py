"""The objects whose payloads show other objects, by the declarations and the relations at present."""

from collections.abc import Collection, Iterator
from typing import Any

from django.db import models

from ..types.current_rows import all_rows
from ..types.live_models import all_announcers
from ..types.shown_paths import EVERYTHING

#: A model, and the primary key of a row.
Row = tuple[type[models.Model], Any]


def objects_showing(model: type[models.Model], pks: Collection[Any], using: str) -> Iterator[Row]:
    """
    Yield the objects whose payloads show rows of a model, by `ObjectType.shows`; each once.

    Included are objects that show everything of an object found, at any distance.
    """
    seen: set[Row] = {(topmost(model), pk) for pk in pks}
    waiting = [(topmost(model), {*pks}, False)]
    while waiting:
        shown, keys, is_whole = waiting.pop()
        for owner, lookup in _lookups(shown, is_whole=is_whole):
            rows = all_rows(owner, using).filter(**{f"{lookup}__pk__in": keys})
            found = {(topmost(owner), pk) for pk in rows.values_list("pk", flat=True)} - seen
            seen |= found
            yield from found
            if found:
                waiting.append((topmost(owner), {pk for _, pk in found}, True))


def topmost(model: type[models.Model]) -> type[models.Model]:
    """Return the topmost ancestor whose primary keys are the model's, by multi-table inheritance."""
    while (relation := model._meta.pk.remote_field) is not None and relation.parent_link:
        model = relation.model
    return model


def _lookups(
    shown: type[models.Model], *, is_whole: bool
) -> Iterator[tuple[type[models.Model], str]]:
    """Yield each live model whose payloads show a model, with the lookup that leads to it."""
    for announcer in all_announcers():
        for path in announcer.shown_paths:
            if topmost(path.model) is shown and (path.column == EVERYTHING or not is_whole):
                yield announcer.model, "__".join(relation.name for relation in path.relations)
