"""Tests of database access for sockets: on few threads, with deadlines, and shared between equal reads."""

import asyncio
import sys
import threading
from contextlib import asynccontextmanager

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InternalError,
    OperationalError,
    connection,
    connections,
)

from pillarbox.database import AWAY_OR_SLOW
from pillarbox.sockets.database import in_database, in_housekeeping, on_own_thread, shared
from tests.communicators import database_away, in_thread
from tests.database import read_only_database
from tests.waiting import PATIENCE, until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def sleep_in_sql(seconds):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@asynccontextmanager
async def occupied(threads):
    """Keep a number of the sockets' threads busy."""
    release, held = threading.Event(), []

    def hold():
        held.append(threading.current_thread())
        release.wait()

    tasks = [asyncio.create_task(in_database(hold)) for _ in range(threads)]
    await until(lambda: len(held) == threads)
    try:
        yield
    finally:
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_statement_is_cancelled(settings):
    """
    PostgreSQL cancels it, so it doesn't load the database any longer.
    """
    unhurried = settings.PILLARBOX
    settings.PILLARBOX = unhurried | {"DATABASE_SECONDS": 0.2}
    with pytest.raises((OperationalError, TimeoutError)):
        await in_database(sleep_in_sql, 3600)
    settings.PILLARBOX = unhurried
    await in_database(sleep_in_sql, 0)  # its thread is free again
    # The caller may time out a moment before PostgreSQL cancels the statement.
    await in_thread(wait_until, lambda: not _sleeping(), "no statement sleeps")


def _sleeping():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep%%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


class TestAway:
    async def test_refused_connections_mean_away(self):
        """
        Whatever the reason of the refusal.
        """
        async with database_away():
            with pytest.raises(AWAY_OR_SLOW):
                await in_database(sleep_in_sql, 0)

    def test_a_read_only_server_means_away(self):
        """
        It was the primary before a failover. Other internal errors are faults of the code.
        """
        with read_only_database(), pytest.raises(AWAY_OR_SLOW):
            async_to_sync(in_database)(run, "CREATE TABLE written ()")
        with pytest.raises(InternalError):
            async_to_sync(in_database)(
                run, "SET transaction_read_only = on; CREATE TABLE written ()"
            )

    async def test_a_lost_connection_means_away(self):
        """
        Even during a statement, ended by an operator or by the server itself.
        """
        with pytest.raises(AWAY_OR_SLOW):
            await in_database(end_own_connection)
        await in_database(sleep_in_sql, 0)

    @pytest.mark.parametrize(
        "code", ["57P01", "57P02", "57P03", "53300", "08006", "57014", "40P01", "58030"]
    )
    def test_some_errors_mean_away(self, code):
        """
        A shutdown, a crash, a startup, too many clients, a lost connection, a timeout, a deadlock, a failing
        disk.
        """
        assert issubclass(psycopg.errors.lookup(code), psycopg.OperationalError)
        assert issubclass(OperationalError, AWAY_OR_SLOW)

    @pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELECT 1 / 0", "SELEC"])
    async def test_a_wrong_statement_does_not_mean_away(self, statement):
        """
        It would fail again a moment later.
        """
        with pytest.raises(DatabaseError) as caught:
            await in_database(run, statement)
        assert not isinstance(caught.value, AWAY_OR_SLOW)

    async def test_after_a_lost_connection_others_are_checked(self, lasting_connections):
        """
        After one thread finds the database away, the other threads check their connections before use.
        """
        other = await in_housekeeping("positions", backend)
        assert other == await in_housekeeping("positions", backend)
        await in_housekeeping("rights", run, f"SELECT pg_terminate_backend({other})")
        with pytest.raises(AWAY_OR_SLOW):
            await in_housekeeping("rights", end_own_connection)
        assert other != await in_housekeeping("positions", backend)
        for name in ("positions", "rights"):
            await in_housekeeping(name, connections.close_all)


@pytest.fixture
def lasting_connections():
    """Let threads keep their connections, as in production."""
    options = connections[DEFAULT_DB_ALIAS].settings_dict
    age, options["CONN_MAX_AGE"] = options["CONN_MAX_AGE"], 60
    yield
    options["CONN_MAX_AGE"] = age


def run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def end_own_connection():
    run("SELECT pg_terminate_backend(pg_backend_pid())")


def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


async def test_a_call_times_out(settings):
    """
    The timeout includes waiting for a thread. A call that has timed out before it began never begins.
    """
    unhurried, begun = settings.PILLARBOX, []
    async with occupied(4):
        settings.PILLARBOX = unhurried | {"DATABASE_SECONDS": 0.3}
        with pytest.raises(TimeoutError):
            await in_database(begun.append, 1)
        settings.PILLARBOX = unhurried
    await asyncio.gather(*(in_database(begun.append, 2) for _ in range(4)))
    assert [2, 2, 2, 2] == begun


async def test_housekeeping_has_its_own_threads():
    """
    Housekeeping continues while all of the sockets' threads are busy.
    """
    async with occupied(4):
        assert threading.current_thread() is not await in_housekeeping(
            "rights", threading.current_thread
        )


class Reads:
    """A read that counts its calls, and returns when the test lets it."""

    def __init__(self):
        self.count = 0
        self.release = threading.Event()

    def __call__(self, key):
        self.count += 1
        self.release.wait()
        return self.count


async def test_equal_reads_share_their_result():
    """
    A read that has begun isn't shared: its result may be older than what the later caller knows of.
    """
    reads = Reads()
    async with occupied(3):
        first = asyncio.create_task(shared(reads, "a"))
        await until(lambda: reads.count)
        others = [asyncio.create_task(shared(reads, "a")) for _ in range(20)]
        another = asyncio.create_task(shared(reads, "b"))
        await asyncio.sleep(0)
        reads.release.set()
        assert 1 == await first
        assert {2} == set(await asyncio.gather(*others))
        assert 3 == await another


async def test_a_cancelled_caller_does_not_cancel_a_shared_read(settings):
    """
    Other callers still get the result. The next call is a new read.
    """
    reads = Reads()
    reads.release.set()
    async with occupied(4):
        impatient, patient = (asyncio.create_task(shared(reads, "a")) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
    assert 1 == await patient
    assert 2 == await shared(reads, "a")


@pytest.fixture
def restless():
    """Have threads switch as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


async def test_a_read_may_begin_at_once(restless):
    """
    A read that begins before it is registered as waiting is neither refused nor shared later.
    """
    answers = [await shared(str, number % 10) for number in range(500)]
    assert [str(number % 10) for number in range(500)] == answers


async def test_an_error_is_raised_for_each_caller():
    """
    It isn't kept for later calls.
    """

    def fail():
        raise OperationalError("away")

    for _ in range(2):
        with pytest.raises(OperationalError, match="away"):
            await shared(fail)


async def test_a_slow_query_does_not_delay_others(demo):
    """
    Queries of sockets run on several threads.
    """
    async with occupied(1), asyncio.timeout(PATIENCE):
        await in_database(sleep_in_sql, 0)


class TestOnOwnThread:
    async def test_it_leaves_no_connection(self):
        """
        The thread is a daemon, and its connection ends with it.
        """

        def work():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                return cursor.fetchone()[0], threading.current_thread().daemon

        pid, is_daemon = await on_own_thread("test", work)
        assert is_daemon
        await in_thread(wait_until, lambda: pid not in _backends(), "its connection has ended")

    async def test_errors_are_raised(self):
        """
        They reach the caller as from an ordinary call.
        """
        with pytest.raises(ValueError, match="invalid literal"):
            await on_own_thread("test", int, "none")


def _backends():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity")
        return {pid for (pid,) in cursor.fetchall()}
