"""`manage.py pillarbox triggers` and `migrate`: they install the triggers of the registered types."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test.utils import CaptureQueriesContext

from apps.tickets.models import Project
from pillarbox.capture.triggers.installation import differences, install, remove
from pillarbox.capture.triggers.required import required
from pillarbox.models import NotificationOutbox

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


def triggers(*options):
    """Return the lines that the command prints, and its exit code."""
    stdout = io.StringIO()
    try:
        call_command("pillarbox", "triggers", *options, stdout=stdout)
    except SystemExit as end:
        return stdout.getvalue().splitlines(), end.code
    return stdout.getvalue().splitlines(), 0


@pytest.fixture
def count():
    """Return the number of live tables."""
    return len(required(using=USING).triggers)


@pytest.fixture
def without(count):
    """Remove triggers from the database, and restore them afterwards."""
    remove(using=USING)
    yield
    install(using=USING)


def test_nothing_is_to_be_done(count):
    """
    After `migrate` all triggers exist.
    """
    words = f"{count} live tables have their triggers."
    assert ([words], 0) == triggers()
    assert ([f"All {words}"], 0) == triggers("--check")


@pytest.mark.usefixtures("without")
class TestWithoutTriggers:
    def test_each_is_installed_and_named(self, count):
        """
        By default missing triggers are installed.
        """
        lines, code = triggers()
        assert (count + 1, 0) == (len(lines), code)
        assert "public.tickets_ticket has no trigger: repaired." in lines
        assert [] == list(differences(using=USING))

    def test_check_changes_nothing(self, count, announced):
        """
        Each table and the cure are named, and it exits with 1; nothing is installed.
        """
        lines, code = triggers("--check")
        assert (count + 1, 1) == (len(lines), code)
        assert "public.tickets_ticket has no trigger." in lines
        assert "Run `manage.py pillarbox triggers`." == lines[-1]
        assert count == len(list(differences(using=USING)))
        Project.objects.create(name="Unseen")
        assert [] == announced()

    def test_the_printed_sql_installs_them(self, execute, announced):
        """
        Printing changes nothing; the SQL can be run more than once by a role that may create
        triggers.
        """
        lines, code = triggers("--sql")
        assert (0, 1) == (code, triggers("--check")[1])
        for _ in range(2):
            execute("\n".join(lines))
        assert 0 == triggers("--check")[1]
        project = Project.objects.create(name="Seen")
        assert [(f"project:{project.pk}", "CREATE_PROJECT")] == announced()


def test_another_version_is_named_and_replaced(execute):
    """
    A function of another version is named and replaced.
    """
    (function,) = {
        trigger.function
        for trigger in required(using=USING).triggers
        if trigger.table == "public.tickets_ticket"
    }
    execute(f"COMMENT ON FUNCTION {function}() IS 'another'")
    words = "public.tickets_ticket has the trigger of another version"
    assert ([f"{words}.", "Run `manage.py pillarbox triggers`."], 1) == triggers("--check")
    lines, code = triggers()
    assert (f"{words}: repaired.", 0) == (lines[0], code)


def test_they_are_removed(count, announced):
    """
    Changes are not captured until the triggers are installed again.
    """
    try:
        words = f"{count} triggers dropped. Changes are no longer captured."
        assert ([words], 0) == triggers("--remove")
        Project.objects.create(name="Unseen")
        assert [] == announced()
    finally:
        triggers()
    assert 0 == triggers("--check")[1]


def test_a_table_that_is_not_ours_to_change(without, execute):
    """
    The table is named, and the command exits with 1.
    """
    execute(
        "CREATE FUNCTION pillarbox_refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE insufficient_privilege; END'"
    )
    execute(
        "CREATE EVENT TRIGGER pillarbox_refuse ON ddl_command_start EXECUTE FUNCTION pillarbox_refuse()"
    )
    try:
        with pytest.raises(CommandError, match=r"public\.tickets_ticket: insufficient") as refused:
            triggers()
        assert 1 == refused.value.returncode
    finally:
        execute("DROP EVENT TRIGGER pillarbox_refuse")
        execute("DROP FUNCTION pillarbox_refuse()")


def test_invalid_options():
    """
    An unknown database and contradicting options are refused with exit code 2.
    """
    with pytest.raises(CommandError, match="There is no database 'nowhere'") as refused:
        triggers("--database", "nowhere")
    assert 2 == refused.value.returncode
    with pytest.raises(CommandError, match="not allowed with"):
        triggers("--check", "--sql")


class TestMigrate:
    def test_installs_missing_triggers(self, without):
        """
        `migrate` installs the triggers without further steps.
        """
        call_command("migrate", verbosity=0)
        assert 0 == triggers("--check")[1]

    def test_flush_costs_three_queries(self):
        """
        After the flush of `TransactionTestCase` nothing is installed again.
        """
        with CaptureQueriesContext(connection) as queries:
            call_command(flush.Command(), interactive=False)
        ours = [
            each["sql"]
            for each in queries
            if "to_regclass" in each["sql"] or "pg_trigger" in each["sql"]
        ]
        assert 3 == len(ours)
        assert not NotificationOutbox.objects.exists()
        assert 0 == triggers("--check")[1]

    def test_asks_no_other_kind_of_database(self, settings):
        """
        Another kind of database, such as SQLite, is migrated without queries of the outbox.
        """
        connections.settings["other"] = {
            **connections.settings[USING],
            "ENGINE": "django.db.backends.sqlite3",
        }
        settings.DATABASE_ROUTERS = [_Router()]
        try:
            _migrated("other")
            assert connections["other"].connection is None
        finally:
            del connections["other"]
            del connections.settings["other"]

    def test_before_the_outbox_is_migrated(self, execute):
        """
        Triggers are not installed while the outbox lacks columns that they write.
        """
        execute("ALTER TABLE pillarbox_notificationoutbox RENAME image TO later")
        try:
            _migrated(USING)
            Project.objects.create(name="Unseen")
        finally:
            execute("ALTER TABLE pillarbox_notificationoutbox RENAME later TO image")
            triggers()
        assert 0 == triggers("--check")[1]


class _Router:
    def allow_migrate(self, db, app_label, **hints):
        return False


def _migrated(using):
    """Send the signals that follow a migration of a database."""
    emit_post_migrate_signal(verbosity=0, interactive=False, db=using)
