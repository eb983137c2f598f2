"""Images: the columns of an object as JSON, as a change left them, made into instances again."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from django.db import DataError, connections, models

from .stored import rows as all_rows

# The columns of an image that the table still has; others are deferred, as if they had not been asked for.
READ = """
SELECT place, {columns} FROM unnest(%s::jsonb[]) WITH ORDINALITY AS given (image, place),
jsonb_populate_record(NULL::{table}, image)
"""


class HasImage(Protocol):
    """A row with an image."""

    @property
    def image(self) -> str | None:
        """JSON text."""


T = TypeVar("T", bound=HasImage)


def instances_of(
    model: type[models.Model], rows: Sequence[T], using: str
) -> Iterator[tuple[T, Any]]:
    """
    Yield each row with the object of its image: an instance whose other fields are deferred.

    Rows whose image can't be read any more are left out: a column has a type that doesn't take the value.
    """
    alike: dict[tuple[str, ...], list[T]] = defaultdict(list)
    for row in rows:
        alike[_columns(model, json.loads(row.image or "{}"))].append(row)
    for columns, group in alike.items():
        if model._meta.pk.column in columns:
            yield from _read_all(model, columns, group, using)


def _columns(model: type[models.Model], image: dict[str, Any]) -> tuple[str, ...]:
    fields = model._meta.local_concrete_fields
    return tuple(str(field.column) for field in fields if field.column in image)


def _read_all(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[T], using: str
) -> Iterator[tuple[T, Any]]:
    """Read images together; if one of them can't be read, one by one."""
    try:
        yield from list(_read(model, columns, rows, using))
    except DataError:
        for row in rows if len(rows) > 1 else ():
            yield from _read_all(model, columns, [row], using)


def _read(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[T], using: str
) -> Iterator[tuple[T, Any]]:
    quote = connections[using].ops.quote_name
    sql = READ.format(columns=", ".join(map(quote, columns)), table=quote(model._meta.db_table))
    for instance in all_rows(model, using).raw(sql, [[row.image for row in rows]]):
        yield rows[instance.place - 1], instance
