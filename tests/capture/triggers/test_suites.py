"""A project's test suite needs no preparation, however its databases are created."""

import os
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection

from tests.rig.keeper import ROOT

pytestmark = pytest.mark.django_db(transaction=True)
DATABASE = "suite"


RUNNERS = {
    "django": ["manage.py", "test", "tests.capture.triggers.suite", "--keepdb"],
    # The suite is another project's: without this one's configuration and fixtures.
    "pytest": [
        *("-m", "pytest", "tests/capture/triggers/suite.py", "--reuse-db", "--noconftest"),
        *("-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", "."),
    ],
}


@pytest.fixture
def suite(monkeypatch):
    """Run the suite with a runner and options in a database of its own, and return its output."""
    url = urlsplit(settings.DATABASE_URL)._replace(path=f"/{DATABASE}").geturl()
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")

    def suite(runner, *options):
        command = [sys.executable, *RUNNERS[runner], *options]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return run.stdout + run.stderr

    yield suite
    with connection._nodb_cursor() as cursor:
        for clone in ("", "_1", "_2"):
            cursor.execute(f"DROP DATABASE IF EXISTS test_{DATABASE}{clone}")


def test_parallel_databases(suite):
    """
    Cloned databases have the triggers of their template, also after a flush.
    """
    said = suite("django", "--parallel", "2")
    assert re.search(r"Ran 4 tests.*\n\nOK\n", said), said


def database():
    """Return what distinguishes the suite's database from another one of the same name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_database WHERE datname = %s", [f"test_{DATABASE}"])
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("runner", "passed"), [("django", r"Ran 4 tests.*\n\nOK\n"), ("pytest", r"\b4 passed")]
)
def test_a_database_that_is_kept(suite, runner, passed):
    """
    The next run of a suite finds the triggers in the database that the first one has left.
    """
    said, first = suite(runner), database()
    assert re.search(passed, said), said
    again = suite(runner)
    assert re.search(passed, again), again
    assert first == database() != []
