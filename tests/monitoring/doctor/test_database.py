"""Tests of the doctor's checks of PostgreSQL: its settings, migrations and clock."""

import re

import pytest
from django.db import connection

from pillarbox.database import limited
from pillarbox.monitoring.doctor import capacity, database, outbox, tables
from pillarbox.monitoring.doctor.clocks import skew

from .situations import found, liar, look, of_the_database, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


class TestDatabase:
    def test_sound(self, durable):
        """
        No check finds anything in a sound database.
        """
        assert [] == found(database.is_reachable())
        assert [] == found(database.has_safe_settings())
        assert [] == found(database.is_migrated())
        assert [] == found(database.clock_agrees())

    def test_away(self):
        """
        The finding gives the error, and the database that was tried.
        """
        to = connection.settings_dict
        name, to["NAME"] = to["NAME"], "nowhere"
        connection.close()
        try:
            finding = one(database.is_reachable())
        finally:
            connection.close()
            to["NAME"] = name
        assert finding.is_grave
        assert 'database "nowhere" does not exist' in finding.what
        assert "'nowhere'" in finding.cure

    def test_read_only(self):
        """
        A read-only database is a finding.
        """
        with of_the_database("default_transaction_read_only = on"):
            assert ["PostgreSQL is read-only for this role."] == found(database.is_reachable())

    def test_a_standby(self):
        """
        A standby is a finding.
        """
        with liar("pg_is_in_recovery", "boolean", "true"):
            assert ["PostgreSQL is a standby."] == found(database.is_reachable())

    @pytest.mark.parametrize(
        ("setting", "is_grave"),
        [
            ("default_transaction_isolation = 'serializable'", True),
            ("statement_timeout = 4999", False),
        ],
    )
    def test_an_unsafe_setting(self, durable, setting, is_grave):
        """
        The finding names the setting that breaks a guarantee.
        """
        with of_the_database(setting):
            finding = one(database.has_safe_settings())
        assert setting.split()[0] in finding.what + finding.cure
        assert is_grave == finding.is_grave

    def test_fsync_off(self):
        """
        `fsync = off` is a finding: committed data must survive a power cut.
        """
        assert ["PostgreSQL's fsync is 'off'."] == found(database.has_safe_settings())

    def test_migrations(self):
        """
        The finding names the first three unapplied migrations, and counts the rest.
        """
        where = "WHERE app = 'auth' RETURNING app, name, applied"
        removed = sql(f"DELETE FROM django_migrations {where}")
        try:
            finding = one(database.is_migrated())
        finally:
            for row in removed:
                sql("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", *row)
        assert finding.what.startswith("Not applied: auth.0001_initial, auth.0002")
        assert f"and {len(removed) - 3} more" in finding.what
        assert finding.is_grave

    def test_clock(self):
        """
        A clock that is an hour ahead is a finding.
        """
        ahead = "pg_catalog.clock_timestamp() + interval '1 hour'"
        with liar("clock_timestamp", "timestamptz", ahead):
            finding = one(database.clock_agrees())
        words = r"PostgreSQL's clock is (\d+)\.\d seconds ahead of this host's."
        assert 3500 < int(re.fullmatch(words, finding.what)[1]) <= 3600


class TestSkew:
    @pytest.mark.parametrize("there", [99.1, 100.0, 100.9, 101.9])
    def test_tolerable(self, there):
        """
        A difference of one second, plus half the request's duration, is no finding.
        """
        assert [] == found(skew("Redis", 99.0, there, 102.0))

    @pytest.mark.parametrize(
        ("there", "words"), [(80.0, "20.0 seconds behind"), (120.0, "20.0 seconds ahead of")]
    )
    def test_intolerable(self, there, words):
        """
        A larger difference is a finding that says the direction.
        """
        assert words in one(skew("Redis", 100.0, there, 100.0)).what


def test_an_ordinary_role_can_run_the_checks():
    """
    The checks work with the privileges of a site's own role.
    """
    sql("CREATE ROLE doctor_reads")
    sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor_reads")
    sql("SET ROLE doctor_reads")
    try:
        for check in (
            database.is_reachable,
            database.is_migrated,
            database.clock_agrees,
            tables.are_complete,
            tables.are_vacuumed,
            tables.no_transaction_or_slot_is_stale,
            capacity.has_connections,
            outbox.has_no_abandoned_claims,
            outbox.is_pruned,
        ):
            assert [] == found(limited(check)()), check
        for name in ("backlog", "failed-rows"):
            assert [] == found(look(name)), name
    finally:
        sql("RESET ROLE")
        sql("DROP OWNED BY doctor_reads")
        sql("DROP ROLE doctor_reads")
