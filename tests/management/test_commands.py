"""`manage.py pillarbox`: what all subcommands have in common."""

import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection

from pillarbox.management import command_line
from tests.database import on_sqlite
from tests.management.calling import outbox, refusal
from tests.processes import Site

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_subcommand(monkeypatch):
    """Let `manage.py pillarbox` have the subcommand ``elsewhere`` of this package, and no other."""
    monkeypatch.setattr(command_line, "PACKAGE", __package__)
    monkeypatch.setattr(command_line, "NAMES", ("elsewhere",))


def test_help_lists_the_exit_codes(capsys):
    """
    Each subcommand's help describes it and its exit codes.
    """
    for name in ("new-epoch", "prune", "replay", "stats"):
        with pytest.raises(SystemExit):
            call_command("pillarbox", name, "--help")
        text = capsys.readouterr().out
        assert "exit codes:" in text
        assert command_line.subcommands()[name].HELP.split()[0] in text


def test_a_database_that_is_away(settings):
    """
    It exits with 3 and a one-line error.
    """
    ended = subprocess.run(
        [sys.executable, "manage.py", "pillarbox", "stats"],
        cwd=django_settings.BASE_DIR,
        env={**Site(None).environment, "DATABASE_URL": "postgresql://127.0.0.1:1/none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 3 == ended.returncode
    assert "The database is away" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("subcommand", ["doctor", "prune", "stats", "triggers"])
def test_another_kind_of_database(subcommand):
    """
    It exits with 2, and says that the database must be PostgreSQL.
    """
    with on_sqlite(), pytest.raises(CommandError, match="needs PostgreSQL") as refused:
        outbox(subcommand)
    assert 2 == refused.value.returncode


def test_invalid_settings(settings):
    """
    It exits with 2, and names the unknown setting.
    """
    settings.PILLARBOX, settings.CELERY_BROKER_URL = {"NOPE": 1}, ""
    with pytest.raises(CommandError, match="PILLARBOX has no setting NOPE") as refused:
        outbox("doctor")
    assert 2 == refused.value.returncode


def test_it_does_not_run_without_a_channel_layer():
    """
    A process that publishes ends with 2 and with the line to write, as the check has it.
    """
    ended = subprocess.run(
        [sys.executable, "manage.py", "pillarbox", "run"],
        cwd=django_settings.BASE_DIR,
        env={
            **Site(None).environment,
            "DJANGO_SETTINGS_MODULE": "tests.management.without_layer",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (2, "") == (ended.returncode, ended.stdout)
    assert 'CommandError: CHANNEL_LAYERS has no "default". CHANNEL_LAYERS = {"def' in ended.stderr


def test_a_channel_layer_that_no_other_process_shares(settings):
    """
    A layer in memory is refused, unless it is only a warning, or the check is silenced. Others need none.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert "The channel layer is in memory" in refusal("drain")
    assert 0 == outbox("stats")[1]
    settings.DEBUG = True
    assert 0 == outbox("drain")[1]
    settings.DEBUG, settings.SILENCED_SYSTEM_CHECKS = False, ["pillarbox.E104"]
    assert 0 == outbox("drain")[1]


def test_a_database_that_is_not_migrated():
    """
    It exits with 2, and names what is missing and the cure.
    """
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pillarbox_minutecounts RENAME TO away")
        cursor.execute("ALTER TABLE pillarbox_process RENAME TO elsewhere")
    try:
        words = refusal("stats")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO pillarbox_minutecounts")
            cursor.execute("ALTER TABLE elsewhere RENAME TO pillarbox_process")
    assert 'relation "pillarbox_process" does not exist' in words
    assert words.endswith("Run `manage.py migrate`.")


def test_a_programming_error_is_no_missing_migration(own_subcommand):
    """
    A programming error raises with its traceback.
    """
    with pytest.raises(ProgrammingError, match="syntax error"):
        outbox("elsewhere", "--sql", "SELEC 1")


def test_a_subcommand_decides_its_exit_code(own_subcommand):
    """
    A subcommand gets its own options, and its result is the exit code.
    """
    assert ("elsewhere: 7\n", 1) == outbox("elsewhere", "--number", "7")


def test_ctrl_c(own_subcommand):
    """
    Ctrl-C ends any subcommand without a traceback.
    """
    assert ("", 130) == outbox("elsewhere", "--interrupt")
