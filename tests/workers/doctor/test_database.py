"""What the doctor says of PostgreSQL: its promises, and its clock."""

import re

import pytest
from django.db import connection

from apps.realtime.database import limited
from workers.doctor import database, outbox, room, tables
from workers.doctor.clocks import skew

from .asking import found, liar, of_the_database, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


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
            ("statement_timeout = 4999", False),
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
        words = r"PostgreSQL's clock is (\d+)\.\d seconds ahead of this host's."
        assert 3500 < int(re.fullmatch(words, finding.what)[1]) <= 3600


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
