"""The crossing to the database: bounded, never for long, and shared where that is the same."""

import asyncio
import sys
import threading
from contextlib import asynccontextmanager

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, OperationalError, connection, connections

from apps.realtime.database import DATABASE_AWAY, in_database, in_rounds, shared
from tests.sockets import database_away, in_thread
from tests.waiting import PATIENCE, until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def sleep_in_sql(seconds):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@asynccontextmanager
async def occupied(threads):
    """Keep so many of the sockets' threads busy."""
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


async def test_a_slow_statement_is_ended(settings):
    """
    By PostgreSQL, so that it costs the database nothing any more.
    """
    unhurried = settings.REALTIME
    settings.REALTIME = unhurried | {"DATABASE_SECONDS": 0.2}
    with pytest.raises((OperationalError, TimeoutError)):
        await in_database(sleep_in_sql, 3600)
    settings.REALTIME = unhurried
    await in_database(sleep_in_sql, 0)  # its thread is free again
    # Who asked may give up a moment before PostgreSQL does.
    await in_thread(wait_until, lambda: not _sleeping(), "no statement sleeps")


def _sleeping():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep%%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


class TestAway:
    async def test_who_refuses_connections_is(self):
        """
        Whatever its reason.
        """
        async with database_away():
            with pytest.raises(DATABASE_AWAY):
                await in_database(sleep_in_sql, 0)

    async def test_who_ends_one_is(self):
        """
        In the middle of a statement, by an operator or by its own end.
        """
        with pytest.raises(DATABASE_AWAY):
            await in_database(end_own_connection)
        await in_database(sleep_in_sql, 0)

    @pytest.mark.parametrize(
        "code", ["57P01", "57P02", "57P03", "53300", "08006", "57014", "40P01", "58030"]
    )
    def test_so_is_who_says_so(self, code):
        """
        It shuts down, crashes, starts up, has too many clients, loses one, is too slow, or its disk fails.
        """
        assert issubclass(psycopg.errors.lookup(code), psycopg.OperationalError)
        assert issubclass(OperationalError, DATABASE_AWAY)

    @pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "SELECT 1 / 0", "SELEC"])
    async def test_who_is_asked_for_nonsense_is_not(self, statement):
        """
        It would be as much nonsense a moment later.
        """
        with pytest.raises(DatabaseError) as caught:
            await in_database(run, statement)
        assert not isinstance(caught.value, DATABASE_AWAY)

    async def test_a_lost_connection_casts_doubt_on_the_others(self, lasting_connections):
        """
        One question finds out that the database was away; the next ones look before they ask.
        """
        other = await in_rounds("positions", backend)
        assert other == await in_rounds("positions", backend)
        await in_rounds("rights", run, f"SELECT pg_terminate_backend({other})")
        with pytest.raises(DATABASE_AWAY):
            await in_rounds("rights", end_own_connection)
        assert other != await in_rounds("positions", backend)
        for name in ("positions", "rights"):
            await in_rounds(name, connections.close_all)


@pytest.fixture
def lasting_connections():
    """Threads keep their connections, as those of the processes do."""
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


async def test_who_waits_too_long_gives_up(settings):
    """
    Also if nobody has begun; what nobody waits for is not begun.
    """
    unhurried, begun = settings.REALTIME, []
    async with occupied(4):
        settings.REALTIME = unhurried | {"DATABASE_SECONDS": 0.3}
        with pytest.raises(TimeoutError):
            await in_database(begun.append, 1)
        settings.REALTIME = unhurried
    await asyncio.gather(*(in_database(begun.append, 2) for _ in range(4)))
    assert [2, 2, 2, 2] == begun


async def test_rounds_have_a_thread_of_their_own():
    """
    However many sockets read, what is done for all of them goes on.
    """
    async with occupied(4):
        assert threading.current_thread() is not await in_rounds("rights", threading.current_thread)


class Reads:
    """Counts who begins to read, and lets them when told to."""

    def __init__(self):
        self.count = 0
        self.release = threading.Event()

    def __call__(self, key):
        self.count += 1
        self.release.wait()
        return self.count


async def test_who_asks_for_the_same_shares_the_answer():
    """
    Unless somebody has begun to read it: that may be older than what the one who asks has heard of.
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


async def test_who_gives_up_takes_it_from_nobody(settings):
    """
    The read that others wait for goes on; the next one begins anew.
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
    """Threads take turns as often as may be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


async def test_a_read_may_begin_at_once(restless):
    """
    Before it is written down that it waits, even: it is neither refused nor remembered.
    """
    answers = [await shared(str, number % 10) for number in range(500)]
    assert [str(number % 10) for number in range(500)] == answers


async def test_an_error_is_everybodys():
    """
    It is raised where the answer is awaited, and nothing remembers it.
    """

    def fail():
        raise OperationalError("away")

    for _ in range(2):
        with pytest.raises(OperationalError, match="away"):
            await shared(fail)


async def test_a_slow_query_delays_nobody_elses(demo):
    """
    A socket's query runs on one of several threads.
    """
    async with occupied(1), asyncio.timeout(PATIENCE):
        await in_database(sleep_in_sql, 0)
