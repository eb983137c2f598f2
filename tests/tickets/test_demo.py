"""Tests of the demo data, and of the command that keeps changing it."""

import io
import signal

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.db import connection

from apps.tickets.management.commands.demo import Command
from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from tests.processes import Site
from tests.program import Program

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
    Each account's password is its name; a second run changes nothing.
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
    With `--if-empty`, nothing is created in a database with users.
    """
    assert "" == run("--if-empty")
    assert not Project.objects.exists()


def test_is_refused_without_debug(settings):
    """
    Accounts with well-known passwords are refused in production.
    """
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG"):
        call_command("demo")
    assert not get_user_model().objects.exists()


def test_live_keeps_changing(run):
    """
    Each change is announced and printed.
    """
    run()
    before = NotificationOutbox.objects.count()
    out = run("--live", "--interval", "0", "--changes", "3")
    assert 4 == len(out.splitlines())
    assert before + 6 == NotificationOutbox.objects.count()


@pytest.fixture
def live(run, transactional_db):
    """The running command after its first change, an hour before the next one."""
    run()
    command = ["manage.py", "demo", "--live", "--interval", "3600"]
    program = Program(command, Site(None).environment)
    try:
        program.until(r"The demo data is there\..*\n.+\n")
        yield program
    finally:
        program.process.kill()
        program.ended()


def test_live_ends_with_ctrl_c(live):
    """
    After Ctrl-C the command prints the number of changes.
    """
    live.process.send_signal(signal.SIGINT)
    assert 0 == live.ended()
    assert live.printed.endswith("\nStopped after 1 changes.\n")


def test_live_without_tickets(run):
    """
    Without tickets, the command says so.
    """
    run()
    Ticket.objects.all().delete()
    assert "no ticket left" in run("--live", "--interval", "0", "--changes", "1")


@pytest.mark.django_db(transaction=True)
def test_live_outlives_the_database(run, monkeypatch):
    """
    The command prints an outage of the database, and goes on afterwards.
    """
    run()
    command = Command()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "/nowhere")
        connection.close()
        assert "The database is away" in command.change()
    assert "away" not in command.change()
