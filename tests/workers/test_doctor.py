"""Each check of the doctor against what is really broken; and how findings look."""

import asyncio
import json
import re
import socketserver
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
import redis
from celery import Celery
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, transaction

from apps.outbox.backlog import backlog
from apps.outbox.health import LONG_SECONDS
from apps.outbox.instances import report
from apps.outbox.minutes import Rates
from apps.outbox.models import Claim, NotificationOutbox
from apps.outbox.running import Running
from apps.outbox.tiles import tiles
from apps.realtime.database import limited
from config.verify.processes import free_port
from tests.database import alter_system, elsewhere
from workers import bell
from workers.app import app
from workers.doctor import (
    configuration,
    database,
    flow,
    layer,
    outbox,
    processes,
    redis_servers,
    room,
    tables,
)
from workers.doctor.checklist import checklist
from workers.doctor.clocks import skew
from workers.doctor.examination import examine
from workers.doctor.findings import Check, Finding, Result, Verdict
from workers.doctor.report import Table, as_json, verdict_of

from .announcing import announce

pytestmark = pytest.mark.django_db(transaction=True)

OUTBOX = NotificationOutbox._meta.db_table


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def found(answer):
    """Return what an answer finds: sentences; nothing, if all is well."""
    return [] if isinstance(answer, str) else [finding.what for finding in answer]


def one(answer):
    """Return the only finding of an answer."""
    (finding,) = answer
    return finding


@contextmanager
def of_the_database(setting):
    """A setting of the tests' database, for connections that are made from now on."""
    name = connection.settings_dict["NAME"]
    sql(f'ALTER DATABASE "{name}" SET {setting}')
    connection.close()
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(f'ALTER DATABASE "{name}" RESET {setting.split()[0]}')
        connection.close()


@contextmanager
def liar(function, returns, body):
    """A database in which a function of PostgreSQL's tells something else."""
    sql("CREATE SCHEMA lies")
    sql(f"CREATE FUNCTION lies.{function}() RETURNS {returns} LANGUAGE sql AS $$ SELECT {body} $$")
    try:
        with of_the_database("search_path = lies, pg_catalog, public"):
            yield
    finally:
        sql("DROP SCHEMA lies CASCADE")


@pytest.fixture
def durable():
    """The servers of tests needn't survive a power cut; here they must."""
    alter_system("fsync = on")
    yield
    alter_system("fsync = off")


class TestDatabase:
    def test_sound(self, durable):
        """
        As it is, nothing is found.
        """
        assert [] == found(database.is_there())
        assert [] == found(database.keeps_its_word())
        assert [] == found(database.is_migrated())
        assert [] == found(database.agrees_on_the_time())

    def test_away(self):
        """
        It is said why, and where it was looked for.
        """
        to = connection.settings_dict
        name, to["NAME"] = to["NAME"], "nowhere"
        connection.close()
        try:
            finding = one(database.is_there())
        finally:
            connection.close()
            to["NAME"] = name
        assert finding.is_grave
        assert 'database "nowhere" does not exist' in finding.what
        assert "'nowhere'" in finding.cure

    def test_read_only(self):
        """
        Where nothing can be written nothing can be announced.
        """
        with of_the_database("default_transaction_read_only = on"):
            assert ["PostgreSQL is read-only for this role."] == found(database.is_there())

    def test_a_standby(self):
        """
        A standby is not the database to write to.
        """
        with liar("pg_is_in_recovery", "boolean", "true"):
            assert ["PostgreSQL is a standby."] == found(database.is_there())

    @pytest.mark.parametrize(
        ("setting", "is_grave"),
        [
            ("default_transaction_isolation = 'serializable'", True),
            ("statement_timeout = 1000", False),
        ],
    )
    def test_a_promise_that_is_not_kept(self, durable, setting, is_grave):
        """
        Settings on which a guarantee rests are named.
        """
        with of_the_database(setting):
            finding = one(database.keeps_its_word())
        assert setting.split()[0] in finding.what + finding.cure
        assert is_grave == finding.is_grave

    def test_fsync_off(self):
        """
        What is committed must survive a power cut.
        """
        assert ["PostgreSQL's fsync is 'off'."] == found(database.keeps_its_word())

    def test_migrations(self):
        """
        Migrations that are not applied are named, three at most.
        """
        where = "WHERE app = 'outbox' RETURNING app, name, applied"
        removed = sql(f"DELETE FROM django_migrations {where}")
        try:
            finding = one(database.is_migrated())
        finally:
            for row in removed:
                sql("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", *row)
        assert finding.what.startswith("Not applied: outbox.0001_initial, outbox.0002")
        assert f"and {len(removed) - 3} more" in finding.what
        assert finding.is_grave

    def test_clock(self):
        """
        A clock that is an hour ahead is found.
        """
        ahead = "pg_catalog.clock_timestamp() + interval '1 hour'"
        with liar("clock_timestamp", "timestamptz", ahead):
            finding = one(database.agrees_on_the_time())
        assert re.fullmatch(
            r"PostgreSQL's clock is (3600|3599)\.\d seconds ahead of this host's.", finding.what
        )


class TestSkew:
    @pytest.mark.parametrize("there", [99.1, 100.0, 100.9, 101.9])
    def test_tolerable(self, there):
        """
        A second, and what asking took, is no finding.
        """
        assert [] == found(skew("Redis", 99.0, there, 102.0))

    @pytest.mark.parametrize(
        ("there", "words"), [(80.0, "20.0 seconds behind"), (120.0, "20.0 seconds ahead of")]
    )
    def test_intolerable(self, there, words):
        """
        More is one, and says in which direction.
        """
        assert words in one(skew("Redis", 100.0, there, 100.0)).what


@pytest.fixture
def mended():
    """Whatever a test does to the outbox's indexes, what the doctor says mends it."""
    assert [] == found(tables.are_whole())
    yield
    for finding in tables.are_whole() if found(tables.are_whole()) else []:
        sql(finding.cure)
    assert [] == found(tables.are_whole())


@pytest.mark.usefixtures("mended")
class TestIndexes:
    @pytest.mark.parametrize("name", ["outbox_untried", "outbox_position"])
    def test_a_dropped_index(self, name):
        """
        An index that is missing is named, whether it is a model's index or a constraint's.
        """
        sql(f"DROP INDEX {name}")
        finding = one(tables.are_whole())
        assert f"{name} of {OUTBOX} is missing." == finding.what
        assert finding.is_grave

    def test_a_dropped_constraint(self):
        """
        A constraint that is missing is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT outbox_one_outcome")
        assert [f"outbox_one_outcome of {OUTBOX} is missing."] == found(tables.are_whole())

    def test_a_constraint_that_was_never_validated(self):
        """
        A constraint that doesn't hold for old rows is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT outbox_shard")
        sql(f"ALTER TABLE {OUTBOX} ADD CONSTRAINT outbox_shard CHECK (shard < 16) NOT VALID")
        assert [f"outbox_shard of {OUTBOX} is not valid."] == found(tables.are_whole())

    @pytest.mark.parametrize(
        ("name", "is_grave"), [("outbox_failed", True), ("outbox_failed_ccnew", False)]
    )
    def test_an_index_whose_building_was_interrupted(self, name, is_grave):
        """
        What an interrupted CREATE INDEX CONCURRENTLY left is named; it matters more if queries need it.
        """
        if is_grave:
            sql(f"DROP INDEX {name}")
        with elsewhere(_writing()):
            sql("SET statement_timeout = 300")
            with pytest.raises(DatabaseError):
                sql(f"CREATE INDEX CONCURRENTLY {name} ON {OUTBOX} (failed_at)")
            sql("RESET statement_timeout")
        finding = one(tables.are_whole())
        assert (f"{name} of {OUTBOX} is not valid.", is_grave) == (finding.what, finding.is_grave)


@contextmanager
def _writing():
    """A transaction that has written to the outbox, and does nothing."""
    with transaction.atomic():
        announce()
        yield


class TestVacuum:
    def test_sound(self):
        """
        As migrated, nothing is found.
        """
        assert [] == found(tables.are_vacuumed())
        assert [] == found(tables.are_not_held_back())

    def test_off_for_a_table(self):
        """
        A table that is not vacuumed is named, and how it will be.
        """
        sql("ALTER TABLE outbox_stream SET (autovacuum_enabled = false)")
        finding = one(tables.are_vacuumed())
        sql(finding.cure)
        assert "Autovacuum is off for outbox_stream." == finding.what
        assert [] == found(tables.are_vacuumed())

    def test_off(self):
        """
        Where nothing is vacuumed it is said.
        """
        alter_system("autovacuum = off")
        try:
            assert ["Autovacuum is off."] == found(tables.are_vacuumed())
        finally:
            alter_system("autovacuum = on")

    def test_late(self):
        """
        Many dead rows are found.
        """
        alter_system("autovacuum_naptime = '1h'")
        try:
            sql(
                f"INSERT INTO {OUTBOX} (stream, shard, event_id, event, object_type, object_id, payload)"
                " SELECT 'ticket:1', 1, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1', '{}'"
                " FROM generate_series(1, 25000)"
            )
            sql(f"DELETE FROM {OUTBOX}")
            sql("SELECT pg_stat_force_next_flush()")
            finding = one(tables.are_vacuumed())
        finally:
            sql(f"VACUUM {OUTBOX}")
            alter_system("autovacuum_naptime = '1min'")
        assert re.match(r"The outbox has \d{5} dead rows", finding.what)

    def test_a_transaction_that_does_nothing(self):
        """
        A transaction that is open and idle is found, with what ends it.
        """
        with elsewhere(_writing()):
            finding = one(tables.are_not_held_back(idle=0.0))
            assert "idle in transaction" in finding.what
            (ending,) = re.findall(r"SELECT pg_terminate_backend\(\d+\)", finding.cure)
        assert [] == found(tables.are_not_held_back(idle=0.0))
        assert ending

    def test_a_statement_that_takes_long(self):
        """
        A statement that takes longer than it may is found.
        """
        with _sleeping(5):
            deadline = time.monotonic() + 10
            while not (seen := found(tables.are_not_held_back(working=0.2))):
                assert time.monotonic() < deadline
        assert ["A transaction has been active for"] == [words[:33] for words in seen]

    def test_a_replication_slot_of_nobody(self):
        """
        WAL that is kept for nobody is found.
        """
        sql("SELECT pg_create_physical_replication_slot('gone', true)")
        try:
            assert (
                "Replication slot 'gone' is used by nobody" in one(tables.are_not_held_back()).what
            )
        finally:
            sql("SELECT pg_drop_replication_slot('gone')")


@contextmanager
def _sleeping(seconds):
    """Somebody's long statement."""
    ended = threading.Event()

    def sleep():
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        connection.close()
        ended.set()

    threading.Thread(target=sleep).start()
    try:
        yield
    finally:
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        )
        assert ended.wait(10)


class TestRoom:
    def test_connections(self):
        """
        Too few connections are found, counting those that the processes that run may want.
        """
        assert [] == found(room.has_connections())
        name = connection.settings_dict["NAME"]
        for kind in ("worker", "beat", "daphne"):
            report(f"{kind}@here:1", kind, {}, using=DEFAULT_DB_ALIAS)
        sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 10')
        try:
            finding = one(room.has_connections())
        finally:
            sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
        assert "of 10 in use; the processes that report may want 11" in finding.what

    @pytest.mark.parametrize(
        ("expected", "free"), [([], 30), ([False], 9), ([True], 1)], ids=["much", "little", "none"]
    )
    def test_disk(self, expected, free):
        """
        A disk that is nearly full is found.
        """
        answer = room.has_disk(lambda _: (100 << 30, (100 - free) << 30, free << 30))
        assert expected == ([] if isinstance(answer, str) else [f.is_grave for f in answer])

    def test_a_disk_that_cannot_be_seen(self):
        """
        A role that may not know where the files are, or another host, finds nothing.
        """
        sql("CREATE ROLE doctor_reads")
        sql("SET ROLE doctor_reads")
        try:
            assert "can't be seen from here" in room.has_disk()
        finally:
            sql("RESET ROLE")
            sql("DROP ROLE doctor_reads")


def test_an_ordinary_role_may_look():
    """
    The checks need no privileges but those of a site's own role.
    """
    sql("CREATE ROLE doctor_reads")
    sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor_reads")
    sql("SET ROLE doctor_reads")
    try:
        for look in (
            database.is_there,
            database.is_migrated,
            database.agrees_on_the_time,
            tables.are_whole,
            tables.are_vacuumed,
            tables.are_not_held_back,
            room.has_connections,
            outbox.keeps_up,
            outbox.has_no_failed_rows,
            outbox.has_no_orphans,
            outbox.is_pruned,
        ):
            assert [] == found(limited(look)()), look
    finally:
        sql("RESET ROLE")
        sql("DROP OWNED BY doctor_reads")
        sql("DROP ROLE doctor_reads")


@pytest.fixture
def server():
    """The tests' Redis; its settings are put back."""
    with redis.Redis.from_url(django_settings.REDIS_URL, decode_responses=True) as client:
        names = ("maxmemory", "maxmemory-policy", "maxclients")
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        for name, value in before.items():
            client.config_set(name, value)
        client.replicaof("NO", "ONE")


class OldRedis(socketserver.BaseRequestHandler):
    """Says of itself that it is Redis 5, and that it is 2001."""

    ANSWERS = {
        b"INFO": b"$22\r\nredis_version:5.0.14\r\n\r\n",
        b"TIME": b"*2\r\n$10\r\n1000000000\r\n$1\r\n0\r\n",
        b"HELLO": b"%1\r\n+proto\r\n:3\r\n",
    }

    def handle(self):
        while asked := self.request.recv(65536):
            # One command after the other, as the client sends them; several may come at once.
            for word in re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", asked):
                self.request.sendall(self.ANSWERS.get(word, b"+OK\r\n"))


@pytest.fixture
def old_redis(settings):
    """The address of a Redis of long ago."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever).start()
        settings.REDIS_URL = f"redis://127.0.0.1:{served.server_address[1]}"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
        yield
        served.shutdown()


class TestRedis:
    def test_sound(self):
        """
        As it is, nothing is found.
        """
        assert [] == found(redis_servers.are_there())
        assert [] == found(redis_servers.have_room())
        assert [] == found(redis_servers.agree_on_the_time())

    def test_each_host_is_asked(self, settings):
        """
        The bell's Redis, and each host of the layer, however it is written; those behind Sentinel not.
        """
        settings.REDIS_URL = "redis://:word@one.example:7000/2"
        hosts = ["rediss://two.example", {"host": "three.example"}, ("four.example", 7001)]
        hosts += [{"address": "unix:///run/five.sock"}, {"sentinels": [], "master_name": "six"}]
        settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": hosts}}}
        assert [
            "one.example:7000/2",
            "two.example",
            "three.example:6379",
            "four.example:7001",
            "/run/five.sock",
        ] == list(redis_servers.servers())

    def test_away(self, settings):
        """
        Each host that can't be reached is named, and no password.
        """
        port = free_port()
        settings.REDIS_URL = f"redis://:hidden@127.0.0.1:{port}/1"
        finding = one(redis_servers.are_there())
        assert f"Redis at 127.0.0.1:{port}/1 can't be used: Error 111" in finding.what
        assert "hidden" not in finding.what + finding.cure

    def test_a_replica(self, server):
        """
        A Redis that can't be written is none.
        """
        server.replicaof("127.0.0.1", free_port())
        assert "read only replica" in one(redis_servers.are_there()).what

    def test_too_old(self, old_redis):
        """
        A version that the client doesn't speak to is found.
        """
        assert "is 5.0.14." in one(redis_servers.are_there()).what

    def test_clock(self, old_redis):
        """
        A clock that stands still is found.
        """
        assert "behind this host's" in one(redis_servers.agree_on_the_time()).what

    def test_eviction(self, server):
        """
        A Redis that evicts any key is found.
        """
        server.config_set("maxmemory", "1gb")
        server.config_set("maxmemory-policy", "allkeys-lru")
        assert "evicts any key for it: allkeys-lru." in one(redis_servers.have_room()).what

    def test_full(self, server):
        """
        A Redis that is nearly full is found.
        """
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.1))
        assert " MB of its " in one(redis_servers.have_room()).what

    def test_crowded(self, server):
        """
        A Redis that soon lets nobody in is found.
        """
        clients = server.info("clients")["connected_clients"]
        server.config_set("maxclients", clients + 1)
        finding = one(redis_servers.have_room())
        assert f" clients of {clients + 1}." in finding.what


async def _send_many():
    await get_channel_layer().group_send_many([("doctor", {"type": "probe"})])


class TestLayer:
    def test_sound(self, settings):
        """
        A message comes back, from one host and from each of several.
        """
        assert layer.loops_back().startswith("there and back in ")
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "apps.realtime.layers.NotificationChannelLayer",
                "CONFIG": {"hosts": [django_settings.REDIS_URL] * 2},
            }
        }
        assert layer.loops_back().startswith("there and back in ")

    def test_a_user_with_few_rights(self, settings, server):
        """
        What the deployment page says of the layer's user suffices.
        """
        words = ["publish", "subscribe", "unsubscribe", "eval", "ping", "hello", "client"]
        rights = ["allchannels", "resetkeys", *(f"+{word}" for word in words)]
        server.execute_command("ACL", "SETUSER", "layer", "on", ">word", *rights)
        backend = "apps.realtime.layers.NotificationChannelLayer"
        host = {"address": django_settings.REDIS_URL, "username": "layer", "password": "word"}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [host]}}}
        try:
            assert [] == found(layer.loops_back())
            asyncio.run(_send_many())
        finally:
            server.execute_command("ACL", "DELUSER", "layer")

    def test_other_messages(self, settings):
        """
        What else comes doesn't matter, and is no answer.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.ChattyLayer"}}
        assert [] == found(layer.loops_back())
        get_channel_layer().is_true = False
        assert "1 did not come back" in one(layer.loops_back()).what

    def test_a_broker_that_is_away(self):
        """
        It is said why, without the password.
        """
        with Celery("away", broker="redis://:hidden@127.0.0.1:1") as away:
            finding = one(layer.broker_answers(away))
        assert finding.what.startswith("The broker can't be used: ")
        assert "hidden" not in finding.what

    def test_mute(self, settings):
        """
        A layer that swallows what it is sent is found.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.HangingLayer"}}
        assert (
            "Of 1 messages through the channel layer 1 did not come back"
            in one(layer.loops_back()).what
        )

    def test_broker(self):
        """
        Messages that nobody takes are found.
        """
        with app.pool.acquire(block=True) as broker:
            queue = app.amqp.queues["outbox"](broker.default_channel)
            queue.purge()
            assert [] == found(layer.broker_answers())
            for _ in range(layer.MANY_MESSAGES + 1):
                app.send_task("outbox.drain", ignore_result=True)
            assert "101 messages wait for the workers." == one(layer.broker_answers()).what
            queue.purge()


def lives(kind, *, name="a", **facts):
    """Somebody reports that it lives."""
    report(f"{kind}@{name}", kind, facts, using=DEFAULT_DB_ALIAS)


def ago(seconds=0.0):
    """Return a moment by this host's clock, as processes say it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def falls_silent(kind, *, name="a"):
    """Somebody reported that it lives, a while ago."""
    lives(kind, name=name)
    sql(
        "UPDATE outbox_instance SET seen_at = now() - interval '1 minute' WHERE name = %s",
        f"{kind}@{name}",
    )


LOOKS = {
    "worker": processes.workers_live,
    "beat": processes.beat_lives,
    "daphne": processes.daphne_lives,
}


class TestProcesses:
    @pytest.mark.parametrize("kind", LOOKS)
    def test_nobody(self, kind):
        """
        Where nobody is, it is said whether somebody was.
        """
        assert [f"No {kind} is alive."] == found(LOOKS[kind]())
        falls_silent(kind)
        finding = one(LOOKS[kind]())
        assert finding.what.startswith(f"No {kind} is alive; the last was heard of 60 seconds ago")
        assert finding.is_grave

    @pytest.mark.parametrize("kind", LOOKS)
    def test_one_of_two(self, kind):
        """
        One that is left suffices; the other one is named.
        """
        falls_silent(kind, name="a")
        lives(kind, name="b")
        finding = one(LOOKS[kind]())
        assert f"Heard of in the last hour, and fell silent: {kind}@a (60 s ago)." == finding.what
        assert not finding.is_grave
        sql("DELETE FROM outbox_instance WHERE name = %s", f"{kind}@a")
        assert [] == found(LOOKS[kind]())

    def test_workers_that_need_no_beat(self):
        """
        `drain --forever` sweeps by itself, and hears no bell.
        """
        lives("worker", swept_at=sql("SELECT now()")[0][0].isoformat(), drained_at=None)
        assert "none is needed" in processes.beat_lives()
        assert "nobody listens" in flow.bell_is_heard()
        assert [] == found(flow.beat_sweeps())


class TestFlow:
    def test_sound(self):
        """
        Who drained, swept and heard lately is well.
        """
        now = sql("SELECT now()")[0][0].isoformat()
        lives("worker", breaker=None, drained_at=now)
        lives("beat", broker=None, swept_at=now)
        lives("daphne", sockets=3, subscriptions=7, layer="live")
        assert [] == found(flow.workers_publish())
        assert [] == found(flow.beat_sweeps())
        assert "3 sockets with 7 subscriptions" == flow.sockets_hear()

    def test_who_has_just_begun(self):
        """
        Who has not had the time yet is well.
        """
        lives("worker", breaker=None, drained_at=None)
        lives("beat", broker=None, swept_at=None)
        assert [] == found(flow.workers_publish())
        assert [] == found(flow.beat_sweeps())

    @pytest.mark.parametrize(
        ("look", "kind", "fact", "words"),
        [
            (flow.workers_publish, "worker", "drained_at", "No worker has drained for 60 seconds"),
            (flow.beat_sweeps, "beat", "swept_at", "hasn't swept for 60 seconds"),
        ],
    )
    def test_alive_and_idle(self, look, kind, fact, words):
        """
        Who lives, and hasn't done its work for a while, is found.
        """
        lives(kind, **{fact: ago(60)}, at=ago())
        assert words in one(look()).what

    @pytest.mark.parametrize(
        ("look", "kind", "fact"),
        [(flow.workers_publish, "worker", "drained_at"), (flow.beat_sweeps, "beat", "swept_at")],
    )
    def test_of_another_host_whose_clock_is_wrong(self, look, kind, fact):
        """
        Its moments are compared with each other, as on the dashboard, not with this host's clock.
        """
        lives(kind, **{fact: ago(601)}, at=ago(600))
        assert [] == found(look())
        lives(kind, **{fact: ago(-540)}, at=ago(-600))
        assert "60 seconds" in one(look()).what

    @pytest.mark.parametrize(
        ("look", "kind", "facts", "words"),
        [
            (flow.workers_publish, "worker", {"breaker": "refused"}, "publishes nothing: refused"),
            (flow.beat_sweeps, "beat", {"broker": "refused"}, "can't reach the broker: refused"),
            (flow.sockets_hear, "daphne", {"layer": "away"}, "does not hear the channel layer"),
        ],
    )
    def test_alive_and_cut_off(self, look, kind, facts, words):
        """
        Who can't reach what this host can is named.
        """
        lives(kind, name="far-away", **facts)
        finding = one(look())
        assert "far-away" in finding.what
        assert words in finding.what

    def test_the_bell(self):
        """
        Somebody who clears it has heard it; where nobody does, it is found.
        """
        lives("worker")
        bell.clear()
        heard = threading.Timer(0.1, bell.clear)
        heard.start()
        assert "a worker came" in flow.bell_is_heard()
        heard.join()
        finding = one(flow.bell_is_heard())
        bell.clear()
        with app.pool.acquire(block=True) as broker:
            app.amqp.queues["outbox"](broker.default_channel).purge()
        assert "no worker came" in finding.what


class TestOutbox:
    def test_sound(self):
        """
        An outbox with nothing in it, or with what has just come, is well.
        """
        announce()
        assert [] == found(outbox.keeps_up())
        assert [] == found(outbox.has_no_failed_rows())
        assert [] == found(outbox.has_no_orphans())
        assert [] == found(outbox.is_pruned())

    @pytest.mark.parametrize(("seconds", "is_grave"), [(30, False), (600, True)])
    def test_lag(self, seconds, is_grave):
        """
        What could be published and isn't is found.
        """
        announce(count=3)
        sql(f"UPDATE {OUTBOX} SET created_at = now() - make_interval(secs => %s)", seconds)
        finding = one(outbox.keeps_up())
        assert f"for {seconds} seconds: 3 waiting" in finding.what
        assert is_grave == finding.is_grave

    def test_is_late_when_the_dashboard_says_so(self):
        """
        There is one threshold.
        """
        announce()
        for seconds, is_late in ((LONG_SECONDS - 5, False), (LONG_SECONDS + 2, True)):
            sql(f"UPDATE {OUTBOX} SET created_at = now() - make_interval(secs => %s)", seconds)
            assert is_late is bool(found(outbox.keeps_up()))
            waiting = backlog(using=DEFAULT_DB_ALIAS)
            late = [
                tile.is_bad for tile in tiles(waiting, Rates(captured=0, published=0), Running())
            ]
            assert is_late is late[0]

    def test_failed_rows(self):
        """
        Rows that failed are found with their causes; those that somebody replayed are not.
        """
        announce(count=3)
        sql(
            f"UPDATE {OUTBOX} SET \"offset\" = id, failed_at = now() - interval '40 days',"
            " error_type = 'KeyError', error_fingerprint = 'x'"
        )
        assert (
            "3 rows failed, 0 of them in the last day: 3 of KeyError since"
            in one(outbox.has_no_failed_rows()).what
        )
        sql(f"UPDATE {OUTBOX} SET replayed_at = now()")
        assert "none (3 were replayed)" == outbox.has_no_failed_rows()

    def test_what_a_dead_worker_left(self):
        """
        A claim that nobody sees to, and a row that kills its workers, are found.
        """
        announce()
        sql(f'UPDATE {OUTBOX} SET "offset" = 1, claims = 5')
        claim = Claim.objects.create(shard=3, rows=[1, 2])
        sql("UPDATE outbox_claim SET claimed_at = now() - interval '5 minutes'")
        left, kills = outbox.has_no_orphans()
        assert "Shard 3 has had 2 rows in hand for 300 seconds." == left.what
        assert kills.what.startswith("5 workers died with row ")
        claim.delete()

    def test_nobody_prunes(self, settings):
        """
        Rows that should be gone are found.
        """
        settings.OUTBOX = {"RETENTION_SECONDS": 3600}
        announce()
        sql(f"UPDATE {OUTBOX} SET \"offset\" = 1, published_at = now() - interval '1 day'")
        assert (
            "Nobody prunes: the oldest published row is 1.0 days old"
            in one(outbox.is_pruned()).what
        )


def test_settings(settings):
    """
    What the system checks complain of is a finding, with its id and hint.
    """
    settings.REALTIME = {"SLOW_SECONDS": 50, "PUBLISH_SECONDS": 2}
    answer = configuration.has_no_complaints()
    by_id = {finding.what.partition(":")[0]: finding for finding in answer}
    assert by_id["realtime.E002"].is_grave
    assert not by_id["realtime.W002"].is_grave
    assert "4503" in by_id["realtime.W002"].cure


class TestExamination:
    def test_one_cause_is_one_finding(self):
        """
        What needs something that fails is left out, and what needs that; a warning is no obstacle.
        """
        grave = Finding(what="a", why="b", cure="c", is_grave=True)
        light = Finding(what="a", why="b", cure="c")
        results = examine(
            [
                Check("one", lambda: [grave]),
                Check("two", lambda: "fine", {"one"}),
                Check("three", lambda: "fine", {"two"}),
                Check("four", lambda: [light]),
                Check("five", lambda: "fine", {"four"}),
            ]
        )
        assert [
            ("one", Verdict.FAIL, ""),
            ("two", Verdict.SKIPPED, "needs one"),
            ("three", Verdict.SKIPPED, "needs two"),
            ("four", Verdict.WARN, ""),
            ("five", Verdict.OK, "fine"),
        ] == [(each.check, each.verdict, each.seen) for each in results]

    def test_a_check_that_raises_or_hangs_stops_no_other(self):
        """
        It is a finding itself.
        """
        release = threading.Event()

        def doze():
            release.wait(3)
            return "awake again"

        results = list(
            examine(
                [
                    Check("raises", lambda: 1 // 0),
                    Check("hangs", doze, seconds=0.1),
                    Check("fine", lambda: "fine"),
                ]
            )
        )
        release.set()
        raises, hangs, fine = results
        assert "ZeroDivisionError: integer division" in raises.findings[0].what
        assert "did not answer within 0.1 seconds" in hangs.findings[0].what
        assert [Verdict.WARN, Verdict.FAIL, Verdict.OK] == [
            r.verdict for r in (raises, hangs, fine)
        ]

    def test_needs_are_checks_that_come_before(self):
        """
        A check can only need one that was made.
        """
        seen = set()
        for check in checklist():
            assert set(check.needs) <= seen, check.name
            seen.add(check.name)

    def test_another_broker_does_not_need_redis(self, settings):
        """
        With RabbitMQ the broker is asked though Redis is away.
        """
        settings.CELERY_BROKER_URL = "amqp://broker.example"
        assert [()] == [check.needs for check in checklist() if check.name == "broker"]


class Terminal(StringIO):
    def isatty(self):
        return True


WELL = Result(check="redis", verdict=Verdict.OK, seen="Redis 8")
LEFT_OUT = Result(check="layer", verdict=Verdict.SKIPPED, seen="needs redis")
BAD = Result(
    check="database",
    verdict=Verdict.FAIL,
    findings=[
        Finding(what="It is not there. " * 8, why="It must be.", cure="Start it.", is_grave=True),
        Finding(what="Slow.", why="It shouldn't be.", cure="Look."),
    ],
)


class TestReport:
    def shown(self, stream, *results):
        table = Table(OutputWrapper(stream), color_style(force_color=True))
        for result in results:
            table.add(result)
        table.end(list(results), 1.25)
        return stream.getvalue()

    def test_a_table(self):
        """
        A line for each check; findings wrap, and say why and what to do; the verdict comes last.
        """
        lines = self.shown(StringIO(), WELL, BAD, LEFT_OUT).splitlines()
        assert "ok    redis           Redis 8" == lines[0]
        assert lines[1].startswith("FAIL  database        It is not there.")
        assert f"{' ' * 22}why: It must be." in lines
        assert f"{' ' * 22}do: Look." in lines
        assert "-     layer           needs redis" == lines[-3]
        assert "FAIL: database. 1 not looked at. (3 checks, 1.2 s)" == lines[-1]
        assert max(map(len, lines)) <= 110

    def test_colours(self):
        """
        Colours are for terminals.
        """
        assert "\x1b" in self.shown(Terminal(), WELL, BAD)
        assert "\x1b" not in self.shown(StringIO(), WELL, BAD)

    @pytest.mark.parametrize(
        ("expected", "results"),
        [
            ((Verdict.OK, "All is well."), [WELL]),
            (
                (Verdict.WARN, "It works; warnings: a."),
                [Result(check="a", verdict=Verdict.WARN, findings=BAD.findings[1:])],
            ),
            (
                (Verdict.FAIL, "FAIL: database, b. Warnings: a. 1 not looked at."),
                [
                    BAD,
                    LEFT_OUT,
                    Result(check="a", verdict=Verdict.WARN, findings=BAD.findings[1:]),
                    Result(check="b", verdict=Verdict.FAIL, findings=BAD.findings[:1]),
                ],
            ),
        ],
    )
    def test_the_verdict(self, expected, results):
        """
        The worst decides.
        """
        assert expected == verdict_of(results)

    def test_no_password_is_shown(self, settings):
        """
        Whatever an error says, the passwords of the settings' addresses are left out.
        """
        settings.REDIS_URL = "redis://:hid%2Fden@redis.example"
        finding = Finding(what="hid%2Fden and hid/den", why="b", cure="c")
        result = Result(check="a", verdict=Verdict.WARN, findings=[finding])
        shown = self.shown(StringIO(), result) + as_json([result], 1)
        assert 2 == shown.count("*** and ***")

    @pytest.mark.parametrize("password", ["verdict", "a", '"', ","])
    def test_a_password_is_left_out_of_sentences_alone(self, settings, password):
        """
        JSON stays JSON, and its keys stay what they are, whatever the password is.
        """
        settings.DATABASES["default"]["PASSWORD"], before = (
            password,
            settings.DATABASES["default"].get("PASSWORD"),
        )
        finding = Finding(what=f"It is {password}!", why="?", cure="?")
        try:
            shown = as_json([Result(check="a", verdict=Verdict.WARN, findings=[finding])], 1)
        finally:
            settings.DATABASES["default"]["PASSWORD"] = before
        (check,) = json.loads(shown)["checks"]
        assert ("a", "warn") == (check["check"], check["verdict"])
        assert "It is ***!" == check["findings"][0]["what"]


class TestCommand:
    def test_some_checks(self):
        """
        Some may be made alone, as JSON, and the exit code says whether something was found.
        """
        out = StringIO()
        call_command("outbox", "doctor", "--json", "--only", "redis", "layer", stdout=out)
        shown = json.loads(out.getvalue())
        assert ("ok", "All is well.") == (shown["verdict"], shown["summary"])
        assert ["redis", "layer"] == [check["check"] for check in shown["checks"]]

    def test_findings(self):
        """
        With findings it exits with 1.
        """
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("outbox", "doctor", "--only", "beat", stdout=out)
        assert 1 == ended.value.code
        assert "FAIL  beat            No beat is alive." in out.getvalue()

    def test_an_unknown_check(self):
        """
        What there is no check of is refused, and the checks are named.
        """
        with pytest.raises(CommandError, match=r"'brain'.*'redis'"):
            call_command("outbox", "doctor", "--only", "brain")
