"""Tests of registrations that are refused while Django starts: what is shown, and what does not start."""

import subprocess
import sys

import pytest
from django.apps import apps
from django.conf import settings as django_settings

from pillarbox.checks.object_types import types_are_registered
from pillarbox.exceptions import RegistrationError
from pillarbox.types import refusals
from pillarbox.types.registry import ObjectType, register
from tests.processes import Site

pytestmark = pytest.mark.django_db

WRONG = (
    "Unserialized has no serializer_class. Write, say: serializer_class = InvoiceSerializer",
    "The object type ticket is registered already: Second needs another name.",
    "`shows` of Unseparated: expected a tuple of names, got 'project__name'. Write, say: "
    'shows = ("name",)',
)


@pytest.fixture
def starting(monkeypatch):
    """Have no refusals yet, and be in the midst of Django's start."""
    monkeypatch.setattr(refusals, "refusals", [])
    monkeypatch.setattr(apps, "ready", False)


def test_the_project_is_sound():
    """
    The project's own registrations are not refused.
    """
    assert [] == types_are_registered()
    refusals.require_registrations()


def test_a_refusal_is_collected_while_django_starts(starting, monkeypatch):
    """
    The class is returned as it is, and the next registrations go on. Later, a refusal is raised.
    """
    nameless, other = (type(name, (ObjectType,), {}) for name in ("Nameless", "Other"))
    assert [nameless, other] == [register(nameless), register(other)]
    with pytest.raises(RegistrationError, match=r"Nameless has no name.* Other has no name"):
        refusals.require_registrations()
    monkeypatch.setattr(apps, "ready", True)
    with pytest.raises(RegistrationError, match="Other has no name"):
        register(other)


def ended(*command):
    """Return a program that has ended, of a site with an app whose registrations are refused."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=django_settings.BASE_DIR,
        env={
            **Site(None).environment,
            "DJANGO_SETTINGS_MODULE": "tests.checks.wrong.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_names_each_refusal():
    """
    `manage.py check` shows all of them as errors, each with the line to write, and no traceback.
    """
    found = ended("manage.py", "check")
    assert 1 == found.returncode
    assert all(f"(pillarbox.E004) {wrong}" in found.stderr for wrong in WRONG), found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("code", "command"),
    [
        (1, "manage.py migrate --skip-checks"),
        (2, "manage.py pillarbox run"),
        (2, "manage.py pillarbox drain"),
        (2, "manage.py pillarbox triggers"),
        (1, "-m celery -A workers.app worker -Q pillarbox --pool solo"),
        (1, "-c import~config.asgi"),
    ],
)
def test_processes_refuse_to_start(code, command):
    """
    A process that runs no checks ends with the same sentences.
    """
    found = ended(*(word.replace("~", " ") for word in command.split()))
    assert code == found.returncode, found.stderr
    assert all(wrong in found.stderr for wrong in WRONG), found.stderr


def test_what_is_wrong_can_be_looked_at():
    """
    The doctor shows the refusals as findings, beside everything else.
    """
    found = ended("manage.py", "pillarbox", "doctor", "--only", "settings", "database")
    assert 1 == found.returncode
    words = " ".join(found.stdout.split())
    assert all(f"pillarbox.E004: {wrong}" in words for wrong in WRONG), found.stdout
    assert "PostgreSQL" in words
