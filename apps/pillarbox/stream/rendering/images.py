"""Images: columns of an object as JSON, as a change left them. They are turned into model instances."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from django.db import DataError, IntegrityError, connections, models

from ...capture.triggers.expressions import literal, quoted
from ...capture.triggers.image_columns import is_json, is_virtual
from ...capture.triggers.names import JSON_NULLS, NOW
from ...types.current_rows import all_rows
from ...types.payload import joined
from .eager_models import unless_eager

# Selects the columns that image and table both have; the instance defers the others.
# The prefix of `pillarbox_place` keeps it from clashing with a column or an attribute of the model.
READ = """
SELECT given.ordinality AS pillarbox_place, shown.*{virtual}
FROM unnest(string_to_array({images}, E'\\x1e')::jsonb[]) WITH ORDINALITY AS given (image, ordinality){now}
CROSS JOIN LATERAL jsonb_populate_record({others}, given.image) AS read
CROSS JOIN LATERAL (SELECT {columns}) AS shown
"""
# The columns that an image lacks are those of the current row. An eager model has no deferred columns.
CURRENT = f"""
LEFT JOIN {{table}} AS {NOW}
ON {NOW}.{{key}} = (jsonb_populate_record(NULL::{{table}}, given.image)).{{key}}"""
# `jsonb_populate_record` makes SQL's NULL of each null.
JSON_VALUE = """
CASE WHEN given.image -> '{json_nulls}' ? {name} THEN 'null' ELSE read.{column} END AS {column}"""

# Triggers don't see the values of virtual columns, so these are computed from their source columns.
VIRTUAL = """
SELECT column_.attname, pg_get_expr(adbin, adrelid), ARRAY(
    SELECT source.attname::text FROM pg_depend JOIN pg_attribute AS source
        ON source.attrelid = refobjid AND source.attnum = refobjsubid
    WHERE classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
    AND refobjid = adrelid AND refobjsubid <> adnum
)
FROM pg_attribute AS column_ JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = to_regclass(%s) AND attgenerated = 'v'
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
    Yield each row with the instance made from its image. Fields that the image lacks are deferred.

    Rows whose image can't be read any more, because a column changed its type, are left out.
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
    """Read images together. If one of them can't be read, read them one by one."""
    try:
        yield from list(_read(model, columns, rows, using))
    except (DataError, IntegrityError):  # the latter is raised by the check of a domain
        for row in rows if len(rows) > 1 else ():
            yield from _read_all(model, columns, [row], using)


def _read(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[T], using: str
) -> Iterator[tuple[T, Any]]:
    images = joined(row.image for row in rows)
    sql = _sql(model, columns, "", "NULL::{table}", using)
    made = unless_eager(
        model,
        lambda: list(all_rows(model, using).raw(sql, [images])),
        lambda: list(all_rows(model, using).raw(_sql_of_whole(model, using), [images])),
        using,
    )
    for instance in made:
        yield rows[vars(instance).pop("pillarbox_place") - 1], instance


def _sql_of_whole(model: type[models.Model], using: str) -> str:
    """Return the SQL that reads all columns: those that an image lacks from the current row."""
    fields: Sequence[Any] = model._meta.local_concrete_fields
    columns = [field.column for field in fields if not is_virtual(field)]
    return _sql(model, columns, CURRENT, NOW, using)


def _sql(
    model: type[models.Model], columns: Sequence[str], now: str, others: str, using: str
) -> str:
    """Return the SQL that reads columns. ``others`` is the row that has those that an image lacks."""
    quote = connections[using].ops.quote_name
    table = quote(model._meta.db_table)
    virtual = [
        f", (SELECT {expression} FROM (SELECT shown.*) AS of_image) AS {quote(column)}"
        for column, expression in _virtual(model, table, columns, using)
    ]
    parts = {
        "columns": ", ".join(_shown(model, columns)),
        "virtual": "".join(virtual),
        "now": now.format(table=table, key=quoted(str(model._meta.pk.column))),
        "others": others.format(table=table),
    }
    return READ.format(images="%s", **{name: sql.replace("%", "%%") for name, sql in parts.items()})


def _shown(model: type[models.Model], columns: Sequence[str]) -> Iterator[str]:
    """Yield the expression for each of these columns."""
    fields: Sequence[Any] = model._meta.local_concrete_fields
    with_json = {field.column for field in fields if is_json(field)}
    for name in columns:
        column = quoted(name)
        if name in with_json:
            yield JSON_VALUE.format(json_nulls=JSON_NULLS, name=literal(name), column=column)
        else:
            yield f"read.{column}"


def _virtual(
    model: type[models.Model], table: str, columns: Sequence[str], using: str
) -> Iterator[tuple[str, str]]:
    """Yield the virtual columns that can be computed from these columns, each with its expression."""
    fields: Sequence[Any] = model._meta.local_concrete_fields
    virtual = {field.column for field in fields if is_virtual(field)}
    if virtual:
        with connections[using].cursor() as cursor:
            cursor.execute(VIRTUAL, [table])
            for column, expression, sources in cursor.fetchall():
                if column in virtual and set(sources) <= set(columns):
                    yield column, expression
