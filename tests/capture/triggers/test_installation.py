"""Installation gives the database the triggers that the registry requires."""

import re
from threading import Thread

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections
from django.db.models import CharField, F, Func, IntegerField, Q
from django.db.models.lookups import Exact

from pillarbox.capture.triggers.installation import differences, install, remove
from pillarbox.capture.triggers.required import WRITTEN, required
from pillarbox.checks.database import live_tables_have_triggers
from pillarbox.exceptions import SecondSchemaError, TriggersError
from pillarbox.models import NotificationOutbox, Stream
from pillarbox.monitoring.doctor.triggers import are_installed
from pillarbox.types.registry import register, unregister
from tests.database import elsewhere, table_lock, wait_for_a_waiting_lock
from tests.library.live import SignType
from tests.library.models import Sign
from tests.registration import library_model, registered, tables, type_of
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "archive"])

USING = {"using": DEFAULT_DB_ALIAS}


def found():
    return {difference.table: difference.problem for difference in differences(**USING)}


@pytest.fixture(autouse=True)
def _none_at_first(db):
    remove(**USING)
    yield
    install(**USING)


def test_each_live_table_gets_one():
    """
    The first installation creates all triggers. The second one has nothing to do.
    """
    tables = {trigger.table for trigger in required(**USING).triggers}
    assert {"public.tickets_ticket", "public.library_item", "public.auth_user"} < tables
    assert dict.fromkeys(tables, "has no trigger") == found()
    assert tables == {difference.table for difference in install(**USING)}
    assert {} == found()
    assert [] == install(**USING)


def test_a_changed_registration(execute):
    """
    A function of another version is replaced. A table that is not live any more loses its triggers.
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


def test_a_new_condition():
    """
    The streams of a type with a new condition get new epochs, because they have other objects now.
    """
    install(**USING)
    names = ("sign:1", "label:1")
    for name in names:
        Stream.objects.create(name=name, shard=3)
    before = dict(Stream.objects.values_list("name", "incarnation"))
    with registered(type("Positive", (SignType,), {"where": Q(version__gt=0)})):
        after = dict(Stream.objects.values_list("name", "incarnation"))
    assert ["sign:1"] == [name for name in names if before[name] != after[name]]


@pytest.fixture
def loud(execute):
    """Let a type have a condition with a function of the schema `public`, which triggers don't search."""
    install(**USING)
    execute("CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)'")
    shout = Func(F("text"), function="shout", output_field=CharField())
    unregister("sign")
    register(type("Loud", (SignType,), {"where": Q(Exact(shout, "A"))}))
    yield
    unregister("sign")
    register(SignType)
    execute("DROP FUNCTION shout")


def test_a_condition_that_its_trigger_cannot_evaluate(loud):
    """
    The installation names the type. So do the system check and the doctor. The old trigger stays.
    """
    reason = "`where` of sign: function shout(character varying) does not exist"
    with pytest.raises(TriggersError, match=r"1 triggers .* all others are") as refused:
        install(**USING)
    assert {"public.library_sign": reason} == refused.value.reasons
    problem = "has a condition that its trigger can't evaluate"
    assert {"public.library_sign": problem} == found()
    (warning,) = live_tables_have_triggers(databases=[DEFAULT_DB_ALIAS])
    assert f"public.library_sign {problem}: {reason}." == warning.msg
    (finding,) = are_installed()
    assert f"public.library_sign ({reason}): {problem}." == finding.what


def test_a_condition_in_the_middle_of_a_migration(loud, execute):
    """
    A condition with a column that is missing doesn't keep a trigger from being installed.
    """
    execute("ALTER TABLE library_sign RENAME text TO title")
    try:
        assert {"public.library_sign": "has the trigger of another version"} == found()
    finally:
        execute("ALTER TABLE library_sign RENAME title TO text")


@pytest.mark.parametrize("name", ["pillarbox", "pillarbox_insert"])
@pytest.mark.parametrize("state", ["DISABLE", "ENABLE REPLICA"])
def test_a_trigger_that_is_disabled(execute, state, name):
    """
    A disabled trigger, or one for replication only, counts as missing, and is enabled.
    """
    install(**USING)
    execute(f"ALTER TABLE library_item {state} TRIGGER {name}")
    assert {"public.library_item": "has no trigger"} == found()
    install(**USING)
    assert {} == found()


@pytest.mark.parametrize("name", ["pillarbox", "pillarbox_insert", "pillarbox_delete"])
@pytest.mark.parametrize("state", ["DISABLE", "ENABLE REPLICA"])
def test_a_trigger_of_a_partition_that_is_disabled(execute, state, name):
    """
    A partition's own copy of a trigger can be disabled, at any depth. Then the whole table counts as one
    without triggers, and the copy is enabled.
    """
    event = library_model("Event", meta={"managed": False}, year=IntegerField())
    execute(
        "CREATE TABLE library_event (id bigint, year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year);"
        "CREATE TABLE event_2026 PARTITION OF library_event FOR VALUES IN (2026) PARTITION BY LIST (id);"
        "CREATE TABLE event_2026_1 PARTITION OF event_2026 FOR VALUES IN (1)"
    )
    try:
        with registered(type_of(event)):
            assert {} == found()
            execute(f"ALTER TABLE event_2026_1 {state} TRIGGER {name}")
            assert {"public.library_event": "has no trigger"} == found()
            install(**USING)
            assert {} == found()
            event.objects.create(pk=1, year=2026)
            assert 1 == NotificationOutbox.objects.filter(object_type="event").count()
    finally:
        execute("DROP TABLE library_event")
        apps.all_models["library"].pop("event")
        apps.clear_cache()


def test_names_with_dots(execute):
    """
    A table whose name ends like that of a live one, after a dot, is another table.
    """
    names = ("new.thing", "old.thing")
    new, old = (
        library_model(name, title=CharField(max_length=9), meta={"db_table": table})
        for name, table in zip(("New", "Old"), names, strict=True)
    )
    with tables(new, old), registered(type_of(new)):
        with registered(type_of(old)):
            assert {} == found()
        assert {} == found()


def test_a_table_that_is_renamed(execute):
    """
    A renamed table gets a new function. The old one is dropped, unless another table uses it.
    """
    install(**USING)
    (function,) = (
        one.function for one in required(**USING).triggers if "library_sign" in one.table
    )
    execute("ALTER TABLE library_sign RENAME TO library_board")
    meta = Sign._meta
    name, meta.db_table = meta.db_table, "library_board"
    try:
        assert {"public.library_board": "has the trigger of another version"} == found()
        install(**USING)
        assert {} == found()
        assert [(None,)] == execute("SELECT to_regproc(%s)", function)
    finally:
        meta.db_table = name
        execute("ALTER TABLE library_board RENAME TO library_sign")


def test_a_table_with_the_name_of_a_renamed_one(execute):
    """
    A function that two tables use stays.
    """
    install(**USING)
    execute("ALTER TABLE library_sign RENAME TO library_board")
    execute("CREATE TABLE library_sign (LIKE library_board)")
    try:
        assert {
            "public.library_sign": "has no trigger",
            "public.library_board": "has a trigger and is not live",
        } == found()
        install(**USING)
        assert {} == found()
    finally:
        execute("DROP TABLE library_sign")
        execute("ALTER TABLE library_board RENAME TO library_sign")


def test_other_roles_can_not_use_a_function(execute):
    """
    No other role may create a trigger with our function, which would let it announce anything.
    """
    install(**USING)
    may = "SELECT has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc WHERE proname ~ '^pillarbox'"
    assert {(False,)} == set(execute(may))


def test_all_are_removed(execute):
    """
    All our triggers and functions are dropped, and no others.
    """
    execute("CREATE FUNCTION pillarbox_of_somebody() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    install(**USING)
    remove(**USING)
    assert found().keys() == {trigger.table for trigger in required(**USING).triggers}
    ours = "SELECT proname FROM pg_proc WHERE proname LIKE 'pillarbox%'"
    assert [("pillarbox_of_somebody",)] == execute(ours)
    execute("DROP FUNCTION pillarbox_of_somebody()")


def test_written_columns():
    """
    `WRITTEN` lists each column that some function writes.
    """
    written = {
        column
        for trigger in required(**USING).triggers
        for columns in re.findall(r"INSERT INTO \S+\s+\((.*?)\)", trigger.body, re.DOTALL)
        for column in columns.replace("\n", " ").split(",")
    }
    assert set(WRITTEN) == {column.strip() for column in written}


def test_another_database():
    """
    Other databases than the default one get no triggers.
    """
    assert [] == required(using="archive").triggers


def test_a_table_that_is_locked_for_a_while():
    """
    A locked table is tried again, with a short wait each time.
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


def test_a_function_is_replaced_while_its_table_is_locked(execute):
    """
    Only new triggers, and those that capture more streams than before, wait for writers.
    """
    install(**USING)
    (function,) = (
        one.function for one in required(**USING).triggers if "library_shelf" in one.table
    )
    execute(f"COMMENT ON FUNCTION {function}() IS 'another'")
    with elsewhere(table_lock("library_shelf")):
        install(**USING, seconds=0)
    assert {} == found()


def test_a_table_that_stays_locked():
    """
    The installation gives up in the end, and succeeds another time.
    """
    with (
        elsewhere(table_lock("library_shelf")),
        pytest.raises(TriggersError, match=r"1 triggers .* public\.library_shelf: .*lock timeout"),
    ):
        install(**USING, seconds=0)
    assert ["public.library_shelf"] == list(found())
    install(**USING)
    assert {} == found()


def test_tables_of_another_owner(execute):
    """
    The error names each such table with PostgreSQL's reason. All other tables get their triggers.
    """
    execute("DROP ROLE IF EXISTS pillarbox_migrator")
    execute("CREATE ROLE pillarbox_migrator SUPERUSER")
    mine = required(**USING).triggers[0].table
    execute("ALTER ROLE pillarbox_migrator NOSUPERUSER")
    execute("GRANT CREATE, USAGE ON SCHEMA public TO pillarbox_migrator")
    execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO pillarbox_migrator")
    execute(f"REVOKE TRIGGER ON {mine} FROM pillarbox_migrator")
    try:
        execute("SET ROLE pillarbox_migrator")
        with pytest.raises(TriggersError) as refused:
            install(**USING)
        assert [mine] == list(refused.value.reasons)
        assert "permission denied" in refused.value.reasons[mine]
        assert [mine] == list(found())
    finally:
        execute("RESET ROLE")
        remove(**USING)
        execute("DROP OWNED BY pillarbox_migrator")
        execute("DROP ROLE pillarbox_migrator")


@pytest.fixture
def tenant(execute):
    """Let another schema with a live table of the same name come first, as for the tenant of a request."""
    install(**USING)
    execute("CREATE SCHEMA tenant CREATE TABLE library_shelf (LIKE public.library_shelf)")
    execute("SET search_path = tenant, public")
    yield
    execute("RESET search_path")
    execute("DROP SCHEMA tenant CASCADE")


def test_schemas_of_tenants(tenant):
    """
    Nothing is installed in a second schema, and the first one keeps its triggers.
    """
    with pytest.raises(SecondSchemaError, match=r"name: public\.library_shelf\.") as refused:
        install(**USING)
    assert ["public.library_shelf"] == refused.value.tables
    second = "has the name of a live table in another schema"
    assert {"tenant.library_shelf": "has no trigger", "public.library_shelf": second} == found()
    assert [second] == [
        finding.what.rpartition(": ")[2].rstrip(".")
        for finding in are_installed()
        if "public.library_shelf" in finding.what
    ]


def test_migrate_refuses_schemas_of_tenants(tenant):
    """
    `migrate` says why, and which tables it means.
    """
    with pytest.raises(CommandError, match=r"public\.library_shelf.* belong to one schema"):
        call_command("migrate", verbosity=0)


def test_a_lost_connection(execute):
    """
    A lost connection is not reported as a table's failure.
    """
    execute(
        "CREATE FUNCTION pillarbox_end() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END'"
    )
    execute(
        "CREATE EVENT TRIGGER pillarbox_end ON ddl_command_start EXECUTE FUNCTION pillarbox_end()"
    )
    try:
        with pytest.raises(OperationalError):
            install(**USING)
    finally:
        connection.close()
        execute("DROP EVENT TRIGGER pillarbox_end")
        execute("DROP FUNCTION pillarbox_end()")


def test_functions_of_dropped_tables(execute):
    """
    A function of ours that no table uses is reported and dropped. Other functions stay.
    """
    install(**USING)
    execute("CREATE TABLE library_gone (LIKE library_sign)")
    name, label = f"public.pillarbox_{'0' * 16}", f"COMMENT ON FUNCTION %s() IS '{'0' * 16}'"
    for function in (name, "pillarbox_of_somebody"):
        body = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        execute(f"CREATE FUNCTION {function}() {body}")
        execute(label % function)
    execute(
        f"CREATE TRIGGER pillarbox AFTER INSERT ON library_gone FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
    assert {"public.library_gone": "has a trigger and is not live"}.items() <= found().items()
    execute("DROP TABLE library_gone")
    assert {name: "is a function that no table uses"} == found()
    install(**USING)
    assert {} == found()
    assert [(1,)] == execute("SELECT 1 FROM pg_proc WHERE proname = 'pillarbox_of_somebody'")
    execute("DROP FUNCTION pillarbox_of_somebody()")


def test_each_table_has_both_triggers(execute):
    """
    A table without the trigger for TRUNCATE counts as one without triggers.
    """
    install(**USING)
    execute("DROP TRIGGER pillarbox_truncate ON library_sign")
    assert {"public.library_sign": "has no trigger"} == found()
    install(**USING)
    assert {} == found()


def test_a_table_with_heirs(execute):
    """
    A table with children gets row triggers, because writes through its parent fire only those.
    """
    install(**USING)
    level = (
        "SELECT DISTINCT tgtype & 1 FROM pg_trigger WHERE tgname ~ '^pillarbox(_insert|_delete)?$'"
    )
    of_sign = f"{level} AND tgrelid = 'library_sign'::regclass"
    assert [(0,)] == execute(of_sign)
    execute("CREATE TABLE library_heir () INHERITS (library_sign)")
    try:
        assert {"public.library_sign": "has the trigger of another version"} == found()
        install(**USING)
        assert {} == found()
        assert [(1,)] == execute(of_sign)
    finally:
        execute("DROP TABLE library_heir")
    install(**USING)
    assert [(0,)] == execute(of_sign)
