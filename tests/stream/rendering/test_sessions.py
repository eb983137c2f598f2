"""If the project's code changes its database session, the relay's connection gets a new one."""

from contextlib import closing, suppress

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from pillarbox.models import NotificationOutbox
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.renderer import render_batch
from pillarbox.stream.rendering.session import (
    restored_session_after_batch,
    restored_session_after_payload,
)
from tests.rendering import USING, render_all

pytestmark = pytest.mark.django_db(transaction=True)

ROLE, OWNER = "pillarbox_nothing", "pillarbox_owner"
SESSION = """
SELECT pg_backend_pid(), session_user, current_user,
    current_setting('search_path'), current_setting('default_transaction_read_only'),
    current_setting('statement_timeout'), current_setting('TimeZone'), current_setting('application_name'),
    ARRAY(SELECT name FROM pg_cursors WHERE name <> ''), ARRAY(SELECT pg_listening_channels()),
    ARRAY(SELECT name FROM pg_prepared_statements), pg_my_temp_schema(),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
FUNCTION = """
CREATE OR REPLACE FUNCTION pillarbox_be_readonly() RETURNS text LANGUAGE sql
AS $$ SELECT set_config('default_transaction_read_only', 'on', false) $$
"""


@pytest.fixture(autouse=True)
def role(execute):
    """Create a role without rights, and a function that changes the session of its caller."""
    execute(
        f"DROP ROLE IF EXISTS {ROLE}, {OWNER}"
    )  # roles outlive the database of a run that was killed
    execute(f"CREATE ROLE {ROLE}")
    execute(FUNCTION)
    yield
    execute("DROP FUNCTION pillarbox_be_readonly()")
    execute(f"DROP ROLE {ROLE}")


def sql(statement):
    """Return code of the project that runs a statement."""

    def use():
        with connection.cursor() as cursor:
            cursor.execute(statement)

    return use


def run_out_of_time():
    sql("SET statement_timeout = '1ms'")()
    sql("SELECT pg_sleep(10)")()


def leave_a_block_open():
    transaction.atomic().__enter__()  # like a generator that is never resumed


USES = {
    "read only": sql("SET default_transaction_read_only = on"),
    "role": sql(f"SET ROLE {ROLE}"),
    "user": sql(f"SET SESSION AUTHORIZATION {ROLE}"),
    "search path": sql("SET search_path = pg_catalog"),
    "time": sql("SET statement_timeout = '1ms'"),
    "time zone": sql("SELECT set_config('TimeZone', 'Asia/Tokyo', false)"),
    "cursor": sql("DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1"),
    "transaction": sql("BEGIN"),
    "block": leave_a_block_open,
    "channel": sql("LISTEN anything"),
    "lock": sql("SELECT pg_advisory_lock(7)"),
    "prepared statement": sql("PREPARE left_behind AS SELECT 1"),
    "temporary table": sql("CREATE TEMPORARY TABLE left_behind (id int)"),
    "two statements": sql(f"SELECT 1; SET ROLE {ROLE}"),
}
UNSEEN = {
    "function": sql("SELECT pillarbox_be_readonly()"),
    "psycopg": lambda: connection.connection.execute(f"SET ROLE {ROLE}"),
    "psycopg's transaction": lambda: connection.connection.execute("BEGIN"),
    "out of time": lambda: connection.connection.execute("SET statement_timeout = '1ms'"),
}


@pytest.fixture
def change(item, item_type, execute):
    """Change the item twice. Rendering the first row uses the session, and rendering the second one reads."""

    def change(use):
        def payload(self, instance):
            if instance.title == "uses":
                use()
            instance.refresh_from_db(fields=["count"])
            return {"title": instance.title}

        item_type(payload=payload)
        for title in ("uses", "reads"):
            execute("UPDATE library_item SET title = %s", title)
        NotificationOutbox.objects.exclude(stream=f"item:{item.pk}").delete()

    return change


def session(execute):
    """Return the process id of the session, and its state."""
    ((pid, *state),) = execute(SESSION)
    return pid, state


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_payload_changes_it(settings, change, execute, use):
    """
    The next payload of the batch, and everything after it, uses a new session.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
    change(use)
    before = session(execute)
    render_all()
    after = session(execute)
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert {"title": "reads"} == NotificationOutbox.objects.latest("id").payload


@pytest.mark.parametrize("use", UNSEEN.values(), ids=UNSEEN)
def test_something_else_changes_it(change, execute, use):
    """
    A change by a database function is detected after the batch, whose outcome is recorded.
    """
    change(use)
    before = session(execute)
    with suppress(OperationalError):
        for shard in shards_to_render(**USING):
            render_batch(shard, **USING)
    after = session(execute)
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_payload_that_changes_nothing_keeps_it(change, execute):
    """
    Reads, writes and transactions of the project's code keep the session.
    """

    def use():
        with transaction.atomic(), transaction.atomic():
            sql("SET LOCAL search_path = public;")()
            sql("UPDATE library_shelf SET name = name")()

    change(use)
    before = session(execute)
    render_all()
    assert before == session(execute)


def test_an_error_in_a_changed_session_is_its_rows(settings, change):
    """
    A payload that exceeds a limit that it set itself doesn't count as an outage.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
    change(run_out_of_time)
    render_all()
    first, second = NotificationOutbox.objects.order_by("id")
    assert ("django.db.utils.OperationalError", None) == (first.error_type, first.payload)
    assert {"title": "reads"} == second.payload


def test_it_ends_meanwhile(item, item_type, execute):
    """
    If the server ends the session after a batch's last query, the next session records the batch.
    """

    def tombstone(self, pk):
        ended = connection.connection.info.backend_pid
        with closing(connection.copy()) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [ended])
        return {"id": pk}

    item_type(tombstone=tombstone)
    execute("DELETE FROM library_item")
    NotificationOutbox.objects.exclude(stream=f"item:{item.pk}").delete()
    render_all()
    assert {"id": item.pk} == NotificationOutbox.objects.get().payload


@pytest.fixture
def pool(monkeypatch):
    """Make Django keep one connection in a pool of psycopg."""
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 1}}
    connection.close()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "OPTIONS", options)
        yield connection.pool
        connection.close()
        connection.close_pool()


def test_a_pool_does_not_get_it_back(pool, change, execute):
    """
    A changed session is closed, because a pool would reuse a returned connection.
    """
    change(USES["role"])
    before = session(execute)
    render_all()
    after = session(execute)
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert 1 == pool.get_stats()["returns_bad"]


@pytest.fixture
def connected_by_hand(execute, monkeypatch):
    """Make the project set a name and a role when it connects."""

    def name(connection, **_):
        with connection.cursor() as cursor:
            cursor.execute("SET application_name = 'by a receiver'")

    execute(f"CREATE ROLE {OWNER} SUPERUSER")
    options = {**connection.settings_dict["OPTIONS"], "assume_role": OWNER}
    connection_created.connect(name)
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        yield
    connection_created.disconnect(name)
    connection.close()
    execute(f"DROP ROLE {OWNER}")


@pytest.mark.usefixtures("connected_by_hand")
def test_settings_of_a_new_connection_are_kept(change, execute):
    """
    A new session is opened as Django opens each, with receivers and role.
    """
    change(USES["role"])
    before = session(execute)
    render_all()
    after = session(execute)
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert OWNER == after[1][1]
    assert "by a receiver" in after[1]


def test_in_a_transaction_of_a_test_it_stays():
    """
    A test's transaction keeps its session, which holds the test's rows.
    """
    with transaction.atomic():
        before = connection.connection
        with (
            restored_session_after_batch(DEFAULT_DB_ALIAS),
            restored_session_after_payload(DEFAULT_DB_ALIAS),
        ):
            connection.cursor().execute("SET LOCAL statement_timeout = 1000")
        assert before is connection.connection
