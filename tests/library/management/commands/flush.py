"""`manage.py flush` of the tests: empties the tables that have rows, in one statement."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import OperationalError, connections
from psycopg.errors import DeadlockDetected

# Django truncates every table after each transactional test, and then has every app recreate its content
# types and permissions: a quarter of the suite's time. Most tests leave a few rows in a few tables.
# Foreign keys of Django's are deferred, so the order of the deletions doesn't matter.
EMPTY = """
DO $$
DECLARE
    names text[] := ARRAY(
        SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'
        AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
    );
    name text;
    found bigint;
BEGIN
    -- What triggers would write of the deletions would stay.
    PERFORM set_config('pillarbox.muted', 'on', true);
    -- Truncated first: a table whose deleted rows await their deferred checks can't be truncated.
    FOREACH name IN ARRAY names LOOP
        EXECUTE 'SELECT count(*) FROM (SELECT FROM ' || name || ' LIMIT 1001) AS rows' INTO found;
        IF found > 1000 THEN
            EXECUTE 'TRUNCATE ' || name || ' CASCADE';
        ELSIF found = 0 THEN
            names := array_remove(names, name);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY names LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
END $$
"""


class Command(BaseCommand):
    """Called by `TransactionTestCase` after each test. Content types and permissions stay."""

    help = "Empty the tables that have rows. Content types and permissions stay."
    stealth_options = ("interactive", "reset_sequences", "allow_cascade", "inhibit_post_migrate")

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--database", default="default")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._empty(options["database"])
        except (
            OperationalError
        ) as error:  # pragma: no cover  # a worker writes, too, on a slow machine
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
            self._empty(options["database"])  # the worker has gone on meanwhile

    def _empty(self, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(EMPTY)
