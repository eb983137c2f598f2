"""Conditions of object types in SQL, for one row of a trigger function."""

from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import DataError, ProgrammingError, connections, models, router, transaction
from django.db.backends.postgresql.psycopg_any import errors
from django.db.models.sql import Query
from django.utils import timezone

from .names import SEARCH_PATH

#: Stands for the row in the SQL of a condition.
ROW = "pillarbox_row"
#: Errors that don't tell whether a trigger can evaluate a condition.
UNKNOWN = (errors.UndefinedColumn, errors.InsufficientPrivilege)


def condition(where: models.Q, model: type[models.Model]) -> str:
    """Return the SQL of a condition over the columns of a model's own table."""
    connection: Any = connections[router.db_for_write(model)]
    query = Query(model)
    # Qualified, because a column may have the name of a variable of the function.
    node = query.build_where(where).relabeled_clone({model._meta.db_table: ROW})
    try:
        with timezone.override(None):  # as in a process without an active time zone
            sql, parameters = query.get_compiler(connection=connection).compile(node)
    except EmptyResultSet:
        return "false"
    except FullResultSet:
        return "true"
    return str(connection.ops.compose_sql(sql, parameters))


def fulfils(where: str, row: str) -> str:
    """Return an expression that is true if a row fulfils a condition."""
    columns = where.replace(f'"{ROW}".', f"{row}.")
    return f"({columns}) IS TRUE"


def failure(where: str, table: str, *, using: str) -> str:
    """
    Return PostgreSQL's reason if a trigger of a table can't evaluate a condition; otherwise an empty string.

    A missing column is no reason, because a migration may be about to add it, nor is a missing privilege.
    """
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, true)", [SEARCH_PATH])
            cursor.execute(f'SELECT FROM {table} AS "{ROW}" WHERE {fulfils(where, ROW)} LIMIT 0')
            transaction.set_rollback(True, using=using)  # it also restores the search path
    except (ProgrammingError, DataError) as error:
        return "" if isinstance(error.__cause__, UNKNOWN) else str(error).partition("\n")[0]
    return ""
