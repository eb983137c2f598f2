"""The demo data, and the command that keeps it changing."""

import io
import signal
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from apps.outbox.models import NotificationOutbox
from apps.tickets.management.commands.demo import Command
from apps.tickets.models import Project, Ticket
from tests.processes import Site
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(settings):
    settings.DEBUG = True

    def run(*arguments):
        out = io.StringIO()
        call_command("demo", *arguments, stdout=out)
        return out.getvalue()

    return run


def test_creates_accounts_projects_and_tickets(run):
    """
    Each account's password is its name; doing it again changes nothing.
    """
    run()
    before = (Project.objects.count(), Ticket.objects.count())
    assert "demo, other, admin" in run()
    assert before == (Project.objects.count(), Ticket.objects.count()) == (2, 7)
    for name in ("demo", "other", "admin"):
        assert authenticate(username=name, password=name)
    assert get_user_model().objects.get(username="admin").is_superuser


def test_if_empty_respects_what_is_there(run, other):
    """
    In a database with users nothing is created.
    """
    assert "" == run("--if-empty")
    assert not Project.objects.exists()


def test_is_refused_without_debug(settings):
    """
    Accounts with well-known passwords have no place in production.
    """
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG"):
        call_command("demo")
    assert not get_user_model().objects.exists()


def test_live_keeps_changing(run):
    """
    Each change is announced, and said.
    """
    run()
    before = NotificationOutbox.objects.count()
    out = run("--live", "--interval", "0", "--changes", "3")
    assert 4 == len(out.splitlines())
    assert before + 6 == NotificationOutbox.objects.count()


@pytest.fixture
def live(run, transactional_db):
    """The command in a process of its own, past its first change, with an hour until the next one."""
    run()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--live", "--interval", "3600"],
        cwd=django_settings.BASE_DIR,
        env=Site(None).environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("The demo data is there.")
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_live_ends_with_ctrl_c(live):
    """
    Interrupted, it says what it did.
    """
    live.send_signal(signal.SIGINT)
    said, _ = live.communicate(timeout=PATIENCE)
    assert ("Stopped after 1 changes.\n", 0) == (said, live.returncode)


def test_live_without_tickets(run):
    """
    With nothing left to change it says so.
    """
    run()
    Ticket.objects.all().delete()
    assert "no ticket left" in run("--live", "--interval", "0", "--changes", "1")


@pytest.mark.django_db(transaction=True)
def test_live_outlives_the_database(run, monkeypatch):
    """
    While the database is away it says so, and goes on when it is back.
    """
    run()
    command = Command()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "/nowhere")
        connection.close()
        assert "The database is away" in command.change()
    assert "away" not in command.change()
