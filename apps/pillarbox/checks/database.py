"""System checks of the database: its settings, indexes, constraints and triggers."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ..capture.triggers.installation import differences
from ..capture.triggers.required import required
from ..conf import pillarbox_settings
from ..database import NEEDS_POSTGRESQL, STATEMENT_ERRORS, USE_POSTGRESQL, is_postgresql
from ..exceptions import ONE_SCHEMA
from ..monitoring.schema import defects, is_migrated
from ..types.registry import object_types
from .settings import needs_settings

#: The default size of psycopg's connection pool.
POOL_SIZE = 4
#: A Daphne process's database threads for housekeeping: positions, access checks, and ends of rights.
HOUSEKEEPING_THREADS = 3
#: Selects those tables whose policies apply to this role.
HIDDEN = "SELECT name FROM unnest(%s::text[]) AS live (name) WHERE row_security_active(name) ORDER BY name"


@register(Tags.compatibility)
def times_have_zones(**_: Any) -> list[CheckMessage]:
    """Check that times are stored with time zones."""
    if settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True; TIME_ZONE may be any."
    return [Error("The outbox needs time zone support.", hint=hint, id="pillarbox.E010")]


@register(Tags.compatibility)
def connections_are_reused_and_time_out(**_: Any) -> list[CheckMessage]:
    """Check that database connections are reused, and that lost ones time out."""
    if not is_postgresql(using=DEFAULT_DB_ALIAS):
        return []  # `database_is_postgresql` reports it
    conf: dict[str, Any] = settings.DATABASES[DEFAULT_DB_ALIAS]
    options, age = conf.get("OPTIONS", {}), conf.get("CONN_MAX_AGE", 0)
    host = conf.get("HOST") or options.get("host", "")
    found: list[CheckMessage] = []
    if (
        host
        and not host.startswith("/")
        and not {"connect_timeout", "tcp_user_timeout"} <= set(options)
    ):
        text = "If the database host disappears, connections hang for minutes or hours."
        hint = (
            "Set connect_timeout (5, say: seconds) and tcp_user_timeout (10000, say: milliseconds)"
        )
        hint += " in its OPTIONS."
        found.append(Warning(text, hint=hint, id="pillarbox.W001"))
    if age == 0 and not options.get("pool"):
        text = "Each drain and each read for a socket opens a new database connection."
        hint = "Set the database's CONN_MAX_AGE (60, say), or a pool in its OPTIONS."
        found.append(Warning(text, hint=hint, id="pillarbox.W002"))
    if age != 0 and not conf.get("CONN_HEALTH_CHECKS"):
        text = "After a restart of the database each kept connection fails once."
        hint = "Set the database's CONN_HEALTH_CHECKS."
        found.append(Warning(text, hint=hint, id="pillarbox.W003"))
    return found


@register()
@needs_settings
def pool_is_large_enough(**_: Any) -> list[CheckMessage]:
    """Check that the pool has a database connection for each database thread of a Daphne process."""
    pool = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {}).get("pool")
    if not pool:
        return []
    given = pool if isinstance(pool, dict) else {}
    size = given.get("max_size") or given.get("min_size", POOL_SIZE)
    if not isinstance(size, int):
        text = f"The size of the database's pool is {size!r}: expected a number."
        hint = 'Set "min_size" and "max_size" of the pool, in the database\'s OPTIONS, or leave them out.'
        return [Error(text, hint=hint, id="pillarbox.E015")]
    wanted = pillarbox_settings().DATABASE_THREADS + HOUSEKEEPING_THREADS
    if size >= wanted:
        return []
    hint = f'Set "max_size" of the pool, in the database\'s OPTIONS, to {wanted} or more.'
    text = f"The database's pool has {size} connections, for {wanted} threads."
    return [Warning(text, hint=hint, id="pillarbox.W105")]


@register(Tags.database)
def database_is_postgresql(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Check that the database is PostgreSQL and its isolation level READ COMMITTED."""
    if not is_postgresql(using=DEFAULT_DB_ALIAS):
        return [Error(NEEDS_POSTGRESQL, hint=USE_POSTGRESQL, id="pillarbox.E006")]
    level = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {}).get("isolation_level")
    if level not in (None, 2):  # psycopg.IsolationLevel.READ_COMMITTED
        hint = "Remove isolation_level from the database's OPTIONS."
        return [
            Error("The outbox needs READ COMMITTED transactions.", hint=hint, id="pillarbox.E007")
        ]
    return []


@register(Tags.compatibility)
def driver_is_psycopg_3(is_psycopg3: bool = is_psycopg3, **_: Any) -> list[CheckMessage]:
    """Check that Django uses psycopg 3, and not psycopg2, which it uses if psycopg 3 can't be imported."""
    if is_psycopg3:
        return []
    hint = 'pip install "psycopg[binary]", or install libpq: psycopg 3 is here, but not usable.'
    text = "Django uses psycopg2, with which the outbox is not tested."
    return [Error(text, hint=hint, id="pillarbox.E013")]


@register(Tags.compatibility)
def schemas_stay(**_: Any) -> list[CheckMessage]:
    """Check that the database's backend doesn't switch between the schemas of tenants."""
    backend = connections[DEFAULT_DB_ALIAS]
    if not (hasattr(backend, "set_schema") or hasattr(backend, "set_tenant")):
        return []
    hint = "Use tenants in common tables, told apart by a foreign key, or a site for each tenant."
    text = (
        f"The backend {backend.settings_dict['ENGINE']} has a schema for each tenant. {ONE_SCHEMA}"
    )
    return [Error(text, hint=hint, id="pillarbox.E014")]


@register(Tags.database)
def indexes_and_constraints_exist(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Check that each index and constraint of the outbox exists and is valid, if it is migrated."""
    if not _is_asked_for(databases):
        return []
    try:
        found = defects(using=DEFAULT_DB_ALIAS) if is_migrated(using=DEFAULT_DB_ALIAS) else []
    except STATEMENT_ERRORS as error:
        hint = "See `manage.py pillarbox doctor`."
        return [
            Error(
                f"The database can't be queried: {error}".rstrip(), hint=hint, id="pillarbox.E011"
            )
        ]
    # Warnings only, because errors would stop `migrate`, which may repair these defects.
    return [
        Warning(defect.what, hint=f"{defect.why} {defect.cure}", id="pillarbox.W004")
        for defect in found
    ]


@register(Tags.database)
def live_tables_have_triggers(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Check that each live table has its capture trigger in this code's version."""
    if not _is_asked_for(databases) or not _payloads_are_known():
        return []
    try:
        found = list(differences(using=DEFAULT_DB_ALIAS))
    except STATEMENT_ERRORS:
        return []  # `indexes_and_constraints_exist` reports it
    # Warnings only, because errors would stop `migrate`, which installs the triggers.
    return [
        Warning(
            f"{difference}.",
            hint="Run `manage.py migrate`, or `manage.py pillarbox triggers`.",
            id="pillarbox.W005",
        )
        for difference in found
    ]


@register(Tags.database)
def live_rows_are_visible(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Check that row-level security hides no row of a live table from this role."""
    if not _is_asked_for(databases) or not _payloads_are_known():
        return []
    try:
        tables = [trigger.table for trigger in required(using=DEFAULT_DB_ALIAS).triggers]
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(HIDDEN, [tables])
            found = cursor.fetchall()
    except STATEMENT_ERRORS:
        return []  # `indexes_and_constraints_exist` reports it
    hint = "Let workers and Daphne connect as a role with BYPASSRLS."
    return [
        Warning(
            f"Row-level security may hide rows of {table} from this role. Their notifications would be"
            " dropped, as if the objects were gone.",
            hint=hint,
            id="pillarbox.W006",
        )
        for (table,) in found
    ]


def _payloads_are_known() -> bool:
    """Return whether the serializers can be made, on which triggers depend. Another check reports others."""
    try:
        for kind in object_types():
            kind.payload_fields()
    except Exception:  # noqa: BLE001  # serializers are the project's code
        return False
    return True


def _is_asked_for(databases: Any) -> bool:
    """Return whether the outbox's database may be queried: it was asked for, and is PostgreSQL."""
    return DEFAULT_DB_ALIAS in (databases or ()) and is_postgresql(using=DEFAULT_DB_ALIAS)
