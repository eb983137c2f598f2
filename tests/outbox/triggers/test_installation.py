"""The database has the triggers that the registry asks for, once they are installed."""

from threading import Thread

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections

from apps.outbox.triggers.installation import differences, expected, install, remove
from apps.realtime.registry import register, unregister
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.library.live import SignType
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "archive"])

USING = {"using": DEFAULT_DB_ALIAS}


def found():
    return {difference.table: difference.problem for difference in differences(**USING)}


@pytest.fixture(autouse=True)
def _removed_in_the_end(db):
    yield
    remove(**USING)


def test_each_live_table_gets_one():
    """
    First none is there, then all are; asked again, nothing is to be done.
    """
    tables = {trigger.table for trigger in expected(**USING)}
    assert {"public.tickets_ticket", "public.library_item", "public.auth_user"} < tables
    assert dict.fromkeys(tables, "has no trigger") == found()
    assert tables == {difference.table for difference in install(**USING)}
    assert {} == found()
    assert [] == install(**USING)


def test_a_changed_registration(execute):
    """
    A function of another version is replaced, and a table that is not live any more loses its trigger.
    """
    install(**USING)
    unregister("sign")
    try:
        assert {"public.library_sign": "has a trigger and is not live"} == found()
        install(**USING)
        assert {} == found()
    finally:
        register(SignType)
    install(**USING)
    ((function,),) = execute(
        "SELECT tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = 'library_sign'::regclass"
        " AND tgname = 'pillarbox'"
    )
    execute(f"COMMENT ON FUNCTION {function}() IS 'another'")
    assert {"public.library_sign": "has the trigger of another version"} == found()
    install(**USING)
    assert {} == found()


def test_a_trigger_that_is_disabled(execute):
    """
    A disabled trigger captures nothing: it counts as missing, and is enabled.
    """
    install(**USING)
    execute("ALTER TABLE library_item DISABLE TRIGGER pillarbox")
    assert {"public.library_item": "has no trigger"} == found()
    install(**USING)
    assert {} == found()


def test_all_are_removed(execute):
    """
    Neither a trigger nor a function of ours stays, and what is another's does.
    """
    execute("CREATE FUNCTION pillarbox_of_somebody() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    install(**USING)
    remove(**USING)
    assert found().keys() == {trigger.table for trigger in expected(**USING)}
    ours = "SELECT proname FROM pg_proc WHERE proname LIKE 'pillarbox%'"
    assert [("pillarbox_of_somebody",)] == execute(ours)
    execute("DROP FUNCTION pillarbox_of_somebody()")


def test_another_database():
    """
    Live models are written to the default database: no other one gets triggers.
    """
    assert [] == expected(using="archive")


def test_a_table_that_is_locked_for_a_while():
    """
    The table is asked for again and again, and never waited for long.
    """
    installing = Thread(target=_install)
    with elsewhere(table_lock("library_shelf")):
        installing.start()
        wait_for_a_waiting_lock()
        wait_until(lambda: not _waits(), "it has given up once")
        wait_for_a_waiting_lock()
    installing.join()
    assert {} == found()


def _install():
    try:
        install(**USING, seconds=PATIENCE)
    finally:
        connections.close_all()


def _waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchall())


def test_a_table_that_stays_locked():
    """
    It is given up in the end, and installed another time.
    """
    with (
        elsewhere(table_lock("library_shelf")),
        pytest.raises(OperationalError, match="lock timeout"),
    ):
        install(**USING, seconds=0)
    assert "public.library_shelf" in found()
    install(**USING)
    assert {} == found()
