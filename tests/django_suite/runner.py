"""Django's runner of its own tests, with our apps among those that are always installed."""

import sys
from importlib import import_module
from typing import Any

from django.db import connection
from django.test.runner import DiscoverRunner

OURS = ["pillarbox", "tests.django_suite.apps.EverythingIsLive"]
DEFAULTS: dict[str, Any] = {
    "verbosity": 1,
    "interactive": False,
    "failfast": False,
    "keepdb": False,
    "reverse": False,
    "debug_sql": False,
    "parallel": 1,
    "tags": None,
    "exclude_tags": None,
    "test_name_patterns": None,
    "start_at": None,
    "start_after": None,
    "pdb": False,
    "buffer": False,
    "timing": False,
    "shuffle": False,
}


class RunnerWithoutChecks(DiscoverRunner):
    """A runner for projects that no relay serves: some of Django's tests have times without zones."""

    def run_checks(self, databases: Any) -> None:
        pass

    def teardown_databases(self, old_config: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'pillarbox'")
            (triggers,) = cursor.fetchone()
            # Tests are rolled back, and a sequence is not.
            cursor.execute("SELECT last_value FROM pillarbox_notificationoutbox_id_seq")
            (rows,) = cursor.fetchone()
        print(f"{triggers} live tables, {rows} rows captured.")
        super().teardown_databases(old_config, **options)


def main(folder: str, *modules: str) -> int:
    """Run the tests of some modules in a folder; return 1 if one failed."""
    sys.path.append(folder)  # the last one, because it has packages named as ours, and as libraries
    runtests: Any = import_module("runtests")
    runtests.ALWAYS_INSTALLED_APPS += OURS
    return int(bool(runtests.django_tests(test_labels=list(modules), **DEFAULTS)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
